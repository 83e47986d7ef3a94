# The image of a node: the program and nothing else. There is no shell in it, no
# package manager and no second program; health checks call the program itself.
#
#   docker build .                                      compiles it in a container
#   make build && docker build --target prebuilt .      takes bin/entente; needs no registry
#
# The two stages that may end as an image say the same of it; a test compares them.

# Folders for volumes: an engine gives a new volume the owner of the folder that it covers. /entente is where a member's
# volume belongs, with the home in it; the others are for `found` in docker-compose.yml.
FROM scratch AS places
WORKDIR /entente
WORKDIR /alliance/alpha
WORKDIR /alliance/bravo
WORKDIR /alliance/charlie
WORKDIR /alliance/recovery

FROM scratch AS prebuilt
COPY bin/entente /bin/entente
COPY --from=places --chown=65532:65532 /entente /entente
COPY --from=places --chown=65532:65532 /alliance /alliance
LABEL org.opencontainers.image.title="Entente" \
      org.opencontainers.image.description="A member's node, and the commands of its people" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/bin HOME=/entente ENTENTE_HOME=/entente/home
USER 65532:65532
WORKDIR /entente
ENTRYPOINT ["/bin/entente"]

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /entente ./cmd/entente

FROM scratch AS entente
COPY --from=build /entente /bin/entente
COPY --from=places --chown=65532:65532 /entente /entente
COPY --from=places --chown=65532:65532 /alliance /alliance
LABEL org.opencontainers.image.title="Entente" \
      org.opencontainers.image.description="A member's node, and the commands of its people" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/bin HOME=/entente ENTENTE_HOME=/entente/home
USER 65532:65532
WORKDIR /entente
ENTRYPOINT ["/bin/entente"]
