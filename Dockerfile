# simclr_tf in a container, for CPUs or for NVIDIA GPUs.
#
# Build, on x86-64 (on another processor add --platform=linux/amd64: one of the requirements has no
# wheels for Linux on ARM):
#
#   docker build -t simclr_tf .
#   docker build --build-arg DEVICE=gpu -t simclr_tf .
#
# Run. The present folder is seen as /data, where paths begin; runs go to runs/ in it:
#
#   docker run --rm -v "$PWD:/data" simclr_tf train --dataset=folder --data_dir=photos
#   docker run --rm --gpus all -v "$PWD:/data" simclr_tf train --dataset=folder --data_dir=photos
#
# - The second command needs the image of DEVICE=gpu, and on the host NVIDIA's driver (one that supports
#   CUDA 12) and the NVIDIA Container Toolkit.
# - The process is user 1000. If your folder belongs to somebody else, add --user "$(id -u):$(id -g)".
# - Sets of TensorFlow Datasets are lost with the container unless they lie in /data: --data_dir=tfds
# - For several GPUs add --shm-size=1g, which NCCL uses to exchange gradients.
# - `docker stop` sends SIGTERM, on which a training writes a checkpoint. Give large networks more than its
#   ten seconds: docker stop -t 120 CONTAINER
FROM python:3.12-slim

# cpu or gpu
ARG DEVICE=cpu

# The requirements have a layer of their own: it stays as it is while only the code changes.
COPY requirements.txt /tmp/requirements.txt
RUN case "$DEVICE" in \
      cpu) cuda="" ;; \
      gpu) cuda="tensorflow[and-cuda]==2.21.*" ;; \
      *) echo "DEVICE must be cpu or gpu. Received: $DEVICE" >&2; exit 1 ;; \
    esac \
    && pip install --no-cache-dir --root-user-action=ignore -r /tmp/requirements.txt ${cuda:+"$cuda"} \
    && rm /tmp/requirements.txt

COPY . /tmp/simclr_tf
WORKDIR /tmp/simclr_tf
RUN pip install --no-cache-dir --root-user-action=ignore . \
    && rm -rf /tmp/simclr_tf/*

# Caches of matplotlib and TensorFlow Datasets go to the home folder. It is open to all, for --user.
RUN useradd --create-home --uid 1000 simclr \
    && chmod 1777 /home/simclr \
    && install -d -o simclr -g simclr /data
# The second line: what the driver's libraries are mounted for. The third: lines appear at once.
ENV HOME=/home/simclr \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1

USER 1000:1000
WORKDIR /data
VOLUME /data
ENTRYPOINT ["simclr"]
CMD ["--help"]
