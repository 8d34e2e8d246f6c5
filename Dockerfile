# The image holds one static binary, run as a user without rights.
ARG GO_IMAGE=golang:1.26-bookworm
FROM ${GO_IMAGE} AS build
WORKDIR /src
# The libraries change more rarely than the code: their layer stays cached.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.release=${VERSION}" -o /out/runledger ./cmd/runledger

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/runledger /usr/local/bin/runledger
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["/usr/local/bin/runledger", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/runledger"]
CMD ["serve"]
