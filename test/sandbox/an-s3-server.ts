/** As much of S3 as the store uses, over real HTTP on loopback, in memory. It checks no signatures. */
import { createHash, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

interface Stored {
  content: Buffer;
  modifiedMs: number;
}

export class S3Server {
  readonly objects = new Map<string, Stored>();
  readonly uploads = new Map<string, { key: string; parts: Map<number, Buffer>; initiatedMs: number }>();
  /** `PUT`, `GET` and so on, with what tells them apart. */
  readonly requests: string[] = [];
  /** Answers instead of the server where it returns a status. */
  refuse: (method: string, key: string) => number | null = () => null;
  private readonly server = createServer((request, response) => void this.answer(request, response));

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url!, "http://host");
    const [, bucket, ...rest] = decodeURIComponent(url.pathname).split("/");
    const key = rest.join("/");
    const body = await bodyOf(request);
    const method = request.method!;
    const query = [...url.searchParams.keys()].find((name) => ["uploads", "uploadId", "list-type"].includes(name));
    this.requests.push(query === undefined ? method : `${method} ${query}`);
    const send = (status: number, text = "", headers: Record<string, string> = {}) =>
      response.writeHead(status, { "content-type": "application/xml", ...headers }).end(text);
    const refuse = (status: number, code: string) =>
      send(status, `<Error><Code>${code}</Code><Message>${code}</Message></Error>`);
    const status = this.refuse(method, key);
    if (status !== null) return void refuse(status, "AccessDenied");
    if (bucket !== "bucket") return void refuse(404, "NoSuchBucket");

    if (method === "GET" && query === "list-type") return void send(200, this.list(url));
    if (method === "GET" && query === "uploads") return void send(200, this.listUploads());
    if (method === "POST" && query === "uploads") {
      const id = randomUUID();
      this.uploads.set(id, { key, parts: new Map(), initiatedMs: Date.now() });
      return void send(
        200,
        `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
      );
    }
    const upload = this.uploads.get(url.searchParams.get("uploadId") ?? "");
    if (query === "uploadId" && upload === undefined) return void refuse(404, "NoSuchUpload");
    if (method === "PUT" && upload !== undefined) {
      upload.parts.set(Number(url.searchParams.get("partNumber")), body);
      return void send(200, "", { etag: etag(body) });
    }
    if (method === "DELETE" && upload !== undefined) {
      this.uploads.delete(url.searchParams.get("uploadId")!);
      return void send(204);
    }
    const exists = this.objects.get(key);
    const isConditional = request.headers["if-none-match"] === "*";
    if ((method === "PUT" || method === "POST") && isConditional && exists)
      return void refuse(412, "PreconditionFailed");
    if (method === "POST" && upload !== undefined) {
      const parts = [...upload.parts].sort(([a], [b]) => a - b).map(([, part]) => part);
      this.objects.set(key, { content: Buffer.concat(parts), modifiedMs: Date.now() });
      this.uploads.delete(url.searchParams.get("uploadId")!);
      return void send(200, "<CompleteMultipartUploadResult/>");
    }
    if (method === "PUT") {
      const source = request.headers["x-amz-copy-source"];
      const copied =
        source === undefined
          ? undefined
          : this.objects.get(decodeURIComponent(String(source)).replace(/^\/?bucket\//, ""));
      if (source !== undefined && copied === undefined) return void refuse(404, "NoSuchKey");
      this.objects.set(key, { content: copied?.content ?? body, modifiedMs: Date.now() });
      return void send(200, source === undefined ? "" : "<CopyObjectResult/>", { etag: etag(body) });
    }
    if (method === "DELETE") {
      this.objects.delete(key);
      return void send(204);
    }
    if (exists === undefined) return void refuse(404, "NoSuchKey");
    const headers = {
      "last-modified": new Date(exists.modifiedMs).toUTCString(),
      "content-length": String(exists.content.length),
      "content-type": "application/octet-stream",
    };
    response.writeHead(200, headers).end(method === "HEAD" ? undefined : exists.content);
  }

  /** Two a page, so that a second page is asked for. */
  private list(url: URL): string {
    const prefix = url.searchParams.get("prefix") ?? "";
    const after = url.searchParams.get("continuation-token") ?? "";
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
    const contents = keys.slice(0, 2).map((key) => {
      const { content, modifiedMs } = this.objects.get(key)!;
      return `<Contents><Key>${key}</Key><Size>${content.length}</Size><LastModified>${new Date(modifiedMs).toISOString()}</LastModified></Contents>`;
    });
    const token = keys.length > 2 ? `<NextContinuationToken>${keys[1]}</NextContinuationToken>` : "";
    return `<ListBucketResult>${contents.join("")}<IsTruncated>${token !== ""}</IsTruncated>${token}</ListBucketResult>`;
  }

  private listUploads(): string {
    const uploads = [...this.uploads].map(
      ([id, { key, initiatedMs }]) =>
        `<Upload><Key>${key}</Key><UploadId>${id}</UploadId><Initiated>${new Date(initiatedMs).toISOString()}</Initiated></Upload>`,
    );
    return `<ListMultipartUploadsResult>${uploads.join("")}</ListMultipartUploadsResult>`;
  }
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  return String(request.headers["content-encoding"] ?? "").includes("aws-chunked") ? dechunked(body) : body;
}

/** The client sends bodies in chunks of its own, each after a line with its length in hex, to add a checksum at the end. */
function dechunked(body: Buffer): Buffer {
  const content: Buffer[] = [];
  for (let at = 0; ; ) {
    const end = body.indexOf("\r\n", at);
    const length = Number.parseInt(body.toString("latin1", at, end), 16);
    if (!(length > 0)) return Buffer.concat(content);
    content.push(body.subarray(end + 2, end + 2 + length));
    at = end + 2 + length + 2;
  }
}

function etag(content: Buffer): string {
  return `"${createHash("md5").update(content).digest("hex")}"`;
}
