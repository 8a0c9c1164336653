# The server, with nothing that builds it.
#   docker build -t ssd-resnet34 .
#   docker run --rm -p 8000:8000 -e SSD_RESNET34_TOKEN=a-long-random-token ssd-resnet34
FROM python:3.11-slim-bookworm AS build

WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="ssd-resnet34" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt \
      "$(echo /wheels/*.whl)[serve]" \
    && rm -r /wheels /tmp/constraints.txt \
    && useradd --create-home --uid 10001 detector

# By number: Kubernetes can see that it is not root.
USER 10001
WORKDIR /home/detector
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SSD_RESNET34_CACHE=/home/detector/.cache/ssd-resnet34
# A new volume mounted there gets its owner.
RUN mkdir -p "$SSD_RESNET34_CACHE"

EXPOSE 8000
# Ends what is open before it ends itself; see docs/deploy.md.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/v2/health/live', timeout=4)"]

# Listening to others needs a token (SSD_RESNET34_TOKEN) or --open.
ENTRYPOINT ["ssd-resnet34"]
CMD ["serve", "--host", "0.0.0.0"]
