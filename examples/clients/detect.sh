#!/usr/bin/env bash
# Detect with curl: the common JSON, the drawn picture, and the Open Inference Protocol's raw body.
#
#   ssd-resnet34 serve &
#   examples/clients/detect.sh samples/scene.png
#
# A server elsewhere wants a token; it is read from SSD_RESNET34_TOKEN, as the server reads it:
#
#   SSD_RESNET34_TOKEN=… examples/clients/detect.sh samples/scene.png http://server:8000
set -eu
image=${1:?give an image file}
server=${2:-http://127.0.0.1:8000}
drawn=${3:-drawn.png}

# The token goes in through a file, for everybody can read the arguments of a process.
token() {
  if [ -n "${SSD_RESNET34_TOKEN:-}" ]; then
    printf 'Authorization: Bearer %s\n' "$SSD_RESNET34_TOKEN"
  fi
}
# --fail-with-body: an error is shown as the server's JSON and ends with a code that is not 0.
ask() { curl --silent --show-error --fail-with-body --header @<(token) "$@"; }

ask --data-binary "@$image" "$server/detect?score_threshold=0.5"
ask --header 'Accept: image/png' --form "image=@$image" --output "$drawn" "$server/detect"
echo "drawn: $drawn"
ask --header 'Inference-Header-Content-Length: 0' --data-binary "@$image" --output /dev/null \
  --write-out 'Open Inference Protocol: %{http_code}, %{size_download} bytes\n' \
  "$server/v2/models/ssd-resnet34/infer"
