# The consumer, and nothing else: what runs on premises.

FROM golang:1.26-trixie AS build
WORKDIR /src
# Another module proxy than Go's own, where the environment of the build names one.
ARG GOPROXY
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY internal internal
COPY nats nats
# What the programs say they are, if the environment of the build says it.
ARG WRITEBACK_VERSION
ARG WRITEBACK_COMMIT
# This step is the same in every Dockerfile here, so that all share one build.
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-X writeback/internal/obs.version=$WRITEBACK_VERSION -X writeback/internal/obs.commit=$WRITEBACK_COMMIT" -o /out/ ./cmd/publisher ./cmd/consumer ./cmd/audit github.com/nats-io/nats-server/v2
# A memory file system takes over owner and mode of the directory that it is mounted
# on, when its container starts again at the latest.
RUN install -d -m 0700 /out/run/writeback

FROM scratch
COPY --from=build /out/consumer /
COPY --from=build --chown=10001:10001 /out/run /run
USER 10001:10001
ENTRYPOINT ["/consumer"]
CMD ["run", "-config", "/srv/consumer/consumer.yaml"]
