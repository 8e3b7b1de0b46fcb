# dycoke with its bundled model, for CPUs or for NVIDIA GPUs. Downloaded models, settings and caches
# are kept in /data:
#   docker build --tag dycoke .
#   docker build --tag dycoke:cuda --build-arg TORCH_INDEX= .
#   docker run --rm --volume "$PWD:/videos" --volume dycoke:/data dycoke ask clip.mp4 "What happens?"
#   docker run --rm --gpus all --volume "$PWD:/videos" dycoke:cuda ask clip.mp4 "What happens?"
#   docker run --rm --publish 8000:8000 --env DYCOKE_API_KEY=... dycoke serve --host 0.0.0.0
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.13-slim
COPY constraints.txt /tested/
COPY src/dycoke_cli/tested.txt /tested/src/dycoke_cli/
# PyTorch's CPU build is a tenth of the build with CUDA's libraries, which the default index has. The
# index of CPU builds has only some releases of PyTorch's dependencies: they come with the rest.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=bind,from=build,source=/wheel,target=/wheel \
    pip install --no-cache-dir --no-deps --constraint /tested/constraints.txt \
        ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision \
    && pip install --no-cache-dir --constraint /tested/constraints.txt \
        "dycoke-cli[eval,judge,mcp,perception,schema,server,serve,smolvlm] @ file://$(echo /wheel/*.whl)"
RUN useradd --create-home --uid 1000 dycoke \
    && install --directory --owner dycoke /data /videos
ENV XDG_CACHE_HOME=/data/cache XDG_CONFIG_HOME=/data/config
USER 1000
WORKDIR /videos
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["dycoke"]
CMD ["demo"]
