"""Errors of the model objects, by the vendor's names."""


class FuriosaModelException(Exception):
    """Base of the others."""


class ArtifactNotFound(FuriosaModelException):
    """A form of the model that does not exist here; the message says why and what does."""


class NotFoundInDVCRemote(ArtifactNotFound):
    """Never raised here: nothing is fetched from the vendor's store."""


class VersionInfoNotFound(FuriosaModelException):
    """Never raised here: no vendor's compiler is asked for its version."""


class ExtraPackageRequired(FuriosaModelException):
    """Never raised here: ``ssd_resnet34.errors.MissingExtra`` is, with the pip command."""
