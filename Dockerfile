# CPU. Build: docker build -t playlist-pretrain .
# Run, in a folder that keeps tfrecords/ and runs/:
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" playlist-pretrain pretrain --pairs playlist_co
FROM python:3.13-slim-trixie AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim-trixie
COPY constraints/current.txt /tmp/lock.txt
COPY --from=wheel /wheels /tmp/wheels
RUN pip install --no-cache-dir --no-compile --no-deps --require-hashes -r /tmp/lock.txt \
    && pip install --no-cache-dir --no-deps /tmp/wheels/*.whl \
    && rm -r /tmp/wheels /tmp/lock.txt \
    && useradd --create-home --uid 1000 music \
    && install --directory --owner music /data
# The home of whichever user --user names: Numba and Matplotlib keep caches there.
ENV HOME=/tmp PYTHONUNBUFFERED=1
USER music
WORKDIR /data
VOLUME /data
ENTRYPOINT ["playlist-pretrain"]
CMD ["--help"]
