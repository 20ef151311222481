# A worker. Build it with `docker build -t waymark .`; what follows the image's name is a command of `plan`.
FROM node:24-alpine AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/build.mjs scripts/
COPY src src
COPY workers workers
RUN npm run build && npm prune --omit=dev --ignore-scripts

FROM node:24-alpine
# Node doesn't reap the processes that shell steps leave behind: tini does, and passes SIGTERM on to Node.
RUN apk add --no-cache tini
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
ENV NODE_ENV=production
USER node
WORKDIR /plans
ENTRYPOINT ["/sbin/tini", "--", "node", "/app/dist/src/cli/bin.js"]
CMD ["worker", "--health-port", "9464", "--health-host", "0.0.0.0"]
