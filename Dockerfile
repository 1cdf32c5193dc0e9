# Hutch in a container: docker build -t hutch . && docker run -d -v ollama:/root/.ollama -p 11434:11434 --name ollama hutch
FROM python:3.11-slim

# libgomp1 is for the engine, curl for the health check.
RUN apt-get update \
    && apt-get install -y --no-install-recommends curl libgomp1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/hutch
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir --no-deps . \
    && hutch shims install --dir /usr/local/bin

# Everything that is kept lies in /root/.ollama, where Ollama's image has it, and belongs to a user without rights.
# It is no VOLUME: what an image made from this one pulls into it would be thrown away.
ENV HOME=/root \
    HUTCH_HOME=/root/.ollama \
    HUTCH_HOST=0.0.0.0
RUN useradd --uid 1000 --home-dir /root --no-create-home hutch \
    && mkdir -p /root/.ollama \
    && chown -R hutch:hutch /root \
    && chmod 755 /root
USER hutch
WORKDIR /root

EXPOSE 11434
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s --retries=3 \
  CMD curl -f http://localhost:11434/api/health || exit 1
ENTRYPOINT ["hutch"]
CMD ["serve"]
