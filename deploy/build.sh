#!/usr/bin/env bash
# Builds the server and lays out the files of the container image in a directory.
#   deploy/build.sh [DIRECTORY]      the directory, target/image by default
#   PROFILE=dev deploy/build.sh      another profile of cargo than release
set -euo pipefail
cd "$(dirname "$0")/.."
image=${1:-target/image}
profile=${PROFILE:-release}
built=${CARGO_TARGET_DIR:-target}/${profile/#dev/debug}/madang

cargo build --locked --profile "$profile" --package madang
rm -rf "${image:?}/usr"
install -D -m 0755 "$built" "$image/usr/bin/madang"
strip --strip-debug "$image/usr/bin/madang"
install -D -m 0644 -t "$image/usr/share/doc/madang" LICENSE-MIT LICENSE-APACHE

# The base image has the C library and nothing else.
needed=$(readelf --dynamic "$image/usr/bin/madang" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
for library in $needed; do
  case $library in
    libc.so.6 | libm.so.6 | libgcc_s.so.1 | ld-linux-*) ;;
    *)
      echo "$image/usr/bin/madang links $library, which the base image does not have" >&2
      exit 1
      ;;
  esac
done
echo "$image/usr/bin/madang: $(stat --format=%s "$image/usr/bin/madang") bytes, links" $needed
