# alexnet in a container, for CPUs or CUDA. docs/deployment.md says how to build and run it.
#
#   docker build -t alexnet .                                   torch in its CUDA build, as pip has it on Linux
#   docker build -t alexnet --build-arg TORCH_INDEX=URL .       another build; for CPUs alone it saves some 5 GB

ARG PYTHON=3.11
FROM python:${PYTHON}-slim

# A compiler and JPEG's headers: pillow-simd is built from source, and `alexnet train --compile` compiles.
RUN apt-get update \
    && apt-get install --no-install-recommends --yes g++ libjpeg62-turbo-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/alexnet
# torch first, so that a change of the code does not fetch it again; with torchvision, which works beside its own build alone.
ARG TORCH_INDEX=
RUN python -m venv .venv \
    && if [ -n "$TORCH_INDEX" ]; then .venv/bin/pip install --no-cache-dir --index-url "$TORCH_INDEX" torch torchvision; fi

COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY scripts scripts
COPY src src
COPY stages stages
ENV PIP_NO_CACHE_DIR=1
RUN scripts/install.sh .venv/bin/python '.[sample,ilsvrc,heif]'
RUN scripts/pillow_simd.sh .venv/bin/python \
    && .venv/bin/python -m pip check \
    && .venv/bin/python -c 'import torchvision' \
    && .venv/bin/alexnet doctor

ENV PATH=/opt/alexnet/.venv/bin:$PATH
WORKDIR /work
ENTRYPOINT ["alexnet"]
CMD ["--help"]
