# The publisher, and nothing else: what runs in the cloud.

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

FROM scratch
COPY --from=build /out/publisher /
USER 10001:10001
ENTRYPOINT ["/publisher"]
CMD ["serve", "-config", "/srv/publisher/publisher.yaml"]
