/**
 * A YAML or JSON text as a tree in which every value knows its place, so that a fault can say its line and column.
 * Whatever no document may hold (several documents, duplicate keys, runaway aliases) is refused here.
 */
import {
  Composer,
  type CST,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  Parser,
  type Scalar,
} from "yaml";
import { type Fault, InvalidPlanError } from "../errors.js";
import { formatPath, type Segment } from "../expression.js";
import type { Json, JsonObject } from "../json.js";
import { suggestion } from "../nearest.js";

export const DOCUMENT_LIMIT_BYTES = 5 * 1024 * 1024;
/** What a document may grow to by its aliases, beyond what is written in it. */
export const ALIAS_LIMIT_VALUES = 1_000_000;
export const NESTING_LIMIT = 100;

/** A value and where it stands. `node` is null where nothing was written. */
export interface Located {
  readonly node: Node | null;
  readonly offset: number;
  readonly path: string;
}

export interface Field extends Located {
  readonly key: string;
  readonly keyOffset: number;
}

export class LocatedDocument {
  readonly root: Located;
  readonly #faults: { offset: number; message: string; path: string }[] = [];
  readonly #lines = new LineCounter();
  readonly #targets: ReadonlyMap<Node, Node>;
  #suggestions = 0;

  /** @throws InvalidPlanError where the text can't be read as one tree of JSON values */
  constructor(
    readonly text: string,
    readonly source: string,
  ) {
    this.#lines.addNewLine(0);
    const bytes = text.length > DOCUMENT_LIMIT_BYTES ? text.length : Buffer.byteLength(text);
    if (bytes > DOCUMENT_LIMIT_BYTES) {
      this.#refuse(0, `the document has ${bytes} bytes; the limit is ${DOCUMENT_LIMIT_BYTES}`);
    }
    const contents = this.#compose();
    const survey = new Survey(this);
    survey.visit(contents, "");
    this.root = { node: contents, offset: contents.range![0], path: "" };
    this.#targets = survey.targets;
    if (this.#faults.length > 0) this.throwFaults();
  }

  get faulty(): boolean {
    return this.#faults.length > 0;
  }

  fault(at: { readonly offset: number; readonly path: string }, message: string): void {
    this.#faults.push({ offset: at.offset, path: at.path, message });
  }

  /** Every fault so far, in the order in which they stand in the text. */
  throwFaults(): never {
    const sorted = [...this.#faults].sort((a, b) => a.offset - b.offset);
    const faults = sorted.map(({ offset, path, message }): Fault => ({ message, path, ...this.position(offset) }));
    throw new InvalidPlanError(this.source, faults);
  }

  /** Line and column, both from 1. */
  position(offset: number): { line: number; column: number } {
    const { line, col } = this.#lines.linePos(offset);
    return { line, column: col };
  }

  // Beyond the first hundred, suggestions cost more time than they save.
  suggest(name: string, candidates: Iterable<string>): string {
    return ++this.#suggestions > SUGGESTION_LIMIT ? "" : suggestion(name, candidates);
  }

  /** The fields of a mapping by name. Anything else is a fault, and null. */
  fields(at: Located): Map<string, Field> | null {
    const node = this.#resolve(at.node);
    if (!isMap(node)) return this.#wrongType(at, "a mapping");
    const fields = new Map<string, Field>();
    for (const pair of node.items) {
      const key = keyText(pair.key as Scalar);
      const keyOffset = offsetOf(pair.key as Node, at.offset);
      const value = pair.value as Node | null;
      const path = formatPath(at.path, [key]);
      fields.set(key, { key, keyOffset, node: value, offset: offsetOf(value, keyOffset), path });
    }
    return fields;
  }

  items(at: Located, of = "a list"): Located[] | null {
    const node = this.#resolve(at.node);
    if (!isSeq(node)) return this.#wrongType(at, of);
    return node.items.map((item, i) => ({
      node: item as Node | null,
      offset: offsetOf(item as Node | null, at.offset),
      path: `${at.path}[${i}]`,
    }));
  }

  string(at: Located, of = "a string"): string | null {
    const value = this.scalar(at);
    return typeof value === "string" ? value : this.#wrongType(at, of);
  }

  boolean(at: Located): boolean | null {
    const value = this.scalar(at);
    return typeof value === "boolean" ? value : this.#wrongType(at, "true or false");
  }

  /** A whole number of at least 1. */
  count(at: Located): number | null {
    const value = this.scalar(at);
    return Number.isSafeInteger(value) && Number(value) >= 1
      ? Number(value)
      : this.#wrongType(at, "a whole number of at least 1");
  }

  /** The text of a string, or of a number or boolean as it is written. */
  plainText(at: Located): string | null {
    const node = this.#resolve(at.node);
    const value = this.scalar(at);
    if (typeof value === "string") return value;
    if (isScalar(node) && (typeof value === "number" || typeof value === "boolean")) {
      return node.source!;
    }
    return this.#wrongType(at, "a string");
  }

  /** The value where it is neither list nor mapping. */
  scalar(at: Located): null | boolean | number | string | undefined {
    const node = this.#resolve(at.node);
    if (node === null) return null;
    return isScalar(node) ? (node.value as null | boolean | number | string) : undefined;
  }

  json(at: Located): Json {
    return this.#toJson(at.node);
  }

  object(at: Located): JsonObject | null {
    return isMap(this.#resolve(at.node)) ? (this.json(at) as JsonObject) : this.#wrongType(at, "a mapping");
  }

  /** Where a path inside a value leads: the deepest part of it that is written down. */
  find(from: Located, path: readonly Segment[]): Located {
    let at = from;
    for (const segment of path) {
      const node = this.#resolve(at.node);
      let next: Located | undefined;
      if (isMap(node)) next = this.fields(at)?.get(String(segment));
      else if (isSeq(node)) next = this.items(at)?.[Number(segment)];
      if (next === undefined) break;
      at = next;
    }
    return at;
  }

  /** Every string inside a value, and the keys of its mappings, with their places. */
  *strings(at: Located): Generator<{ readonly at: Located; readonly text: string; readonly key: boolean }> {
    const node = this.#resolve(at.node);
    if (isScalar(node)) {
      if (typeof node.value === "string") yield { at, text: node.value, key: false };
    } else if (isMap(node)) {
      for (const field of this.fields(at)!.values()) {
        yield { at: { ...field, offset: field.keyOffset }, text: field.key, key: true };
        yield* this.strings(field);
      }
    } else {
      for (const item of this.items(at) ?? []) yield* this.strings(item);
    }
  }

  /** Where the `ordinal`th occurrence of `needle` in a string stands in the text; its start where escapes hide it. */
  within(at: Located, needle: string, ordinal: number): { offset: number; path: string } {
    const [start, end] = this.#resolve(at.node)!.range!;
    let offset = start - 1;
    for (let i = 0; i <= ordinal; i++) {
      offset = this.text.indexOf(needle, offset + 1);
      if (offset === -1 || offset >= end) return at;
    }
    return { offset, path: at.path };
  }

  #compose(): Node {
    const tokens: CST.Token[] = [];
    const parser = new Parser(this.#lines.addNewLine);
    for (const lexeme of new Lexer().lex(this.text)) {
      for (const token of parser.next(lexeme)) tokens.push(token);
      // Checked while parsing: megabytes of opening brackets would exhaust memory before there is a tree to look at.
      if (parser.stack.length > 4 * NESTING_LIMIT) this.#refuse(parser.offset, NESTED_TOO_DEEPLY);
    }
    for (const token of parser.end()) tokens.push(token);
    const composer = new Composer({ uniqueKeys: false, keepSourceTokens: false, logLevel: "silent" });
    const [first, second] = [...composer.compose(tokens, true, this.text.length)];
    for (const error of [...first!.errors, ...first!.warnings].slice(0, SYNTAX_FAULT_LIMIT)) {
      this.fault({ offset: error.pos[0], path: "" }, sentence(error.message));
    }
    if (second) {
      const at = { offset: second.range[0], path: "" };
      this.fault(at, "a file holds one plan; a second YAML document starts here");
    }
    if (this.faulty) this.throwFaults();
    if (first!.contents === null) this.#refuse(0, "the document is empty");
    return first!.contents!;
  }

  #refuse(offset: number, message: string): never {
    this.fault({ offset, path: "" }, message);
    this.throwFaults();
  }

  #resolve(node: Node | null): Node | null {
    return node !== null && isAlias(node) ? this.#targets.get(node)! : node;
  }

  #wrongType(at: Located, wanted: string): null {
    this.fault(at, `${at.path || "the document"} must be ${wanted}, not ${this.describe(at)}`);
    return null;
  }

  describe(at: Located): string {
    const node = this.#resolve(at.node);
    if (isMap(node)) return "a mapping";
    if (isSeq(node)) return "a list";
    const value = this.scalar(at);
    if (value === null) return "nothing";
    if (typeof value !== "string") return `the ${typeof value} ${value}`;
    return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  }

  #toJson(written: Node | null): Json {
    const node = this.#resolve(written);
    if (isSeq(node)) return node.items.map((item) => this.#toJson(item as Node | null));
    if (isMap(node)) {
      // fromEntries defines properties, so a key such as __proto__ stays a key.
      return Object.fromEntries(
        node.items.map((pair) => [keyText(pair.key as Scalar), this.#toJson(pair.value as Node | null)]),
      );
    }
    return isScalar(node) ? (node.value as Json) : null;
  }
}

/** The segments of a path as `formatPath` writes it. */
export function segmentsOf(path: string): Segment[] {
  return [...path.matchAll(/\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]|[^.[\]]+/g)].map((part) => {
    if (part[2] !== undefined) return Number(part[2]);
    return part[1] === undefined ? part[0] : (JSON.parse(`"${part[1]}"`) as string);
  });
}

const SUGGESTION_LIMIT = 100;
const SYNTAX_FAULT_LIMIT = 20;
const NESTED_TOO_DEEPLY = `values are nested more than ${NESTING_LIMIT} deep`;

/** One walk over everything written: what the aliases name, and what no plan may contain. */
class Survey {
  readonly targets = new Map<Node, Node>();
  readonly #anchors = new Map<string, Node>();
  readonly #shapes = new Map<Node, { values: number; height: number }>();
  #borrowed = 0;

  constructor(readonly document: LocatedDocument) {}

  /** How many values the node stands for, aliases expanded, and how deep they are nested. */
  visit(node: Node | null, path: string, depth = 0): { values: number; height: number } {
    if (node === null) return LEAF;
    if (depth > NESTING_LIMIT) return this.#fatal(node, path, NESTED_TOO_DEEPLY);
    if (isAlias(node)) return this.#alias(node, node.source, path, depth);
    const shape = this.#inside(node, path, depth);
    // Named only once it is complete, so that an alias inside it can't mean it.
    const { anchor } = node as Scalar;
    if (anchor !== undefined) {
      this.#anchors.set(anchor, node);
      this.#shapes.set(node, shape);
    }
    return shape;
  }

  #alias(node: Node, name: string, path: string, depth: number): { values: number; height: number } {
    const target = this.#anchors.get(name);
    if (target === undefined) return this.#fatal(node, path, `*${name} names nothing that is complete above it`);
    this.targets.set(node, target);
    const shape = this.#shapes.get(target)!;
    if (depth + shape.height > NESTING_LIMIT) this.#fatal(node, path, NESTED_TOO_DEEPLY);
    this.#borrowed += shape.values;
    if (this.#borrowed > ALIAS_LIMIT_VALUES) {
      this.#fatal(node, path, `aliases make the document grow by more than ${ALIAS_LIMIT_VALUES} values`);
    }
    return shape;
  }

  #inside(node: Node, path: string, depth: number): { values: number; height: number } {
    const total = { values: 1, height: 0 };
    const add = (shape: { values: number; height: number }) => {
      total.values += shape.values;
      total.height = Math.max(total.height, shape.height + 1);
    };
    if (isSeq(node)) {
      node.items.forEach((item, i) => {
        add(this.visit(item as Node | null, `${path}[${i}]`, depth + 1));
      });
    } else if (isMap(node)) {
      const keys = new Map<string, Node>();
      for (const { key, value } of node.items as { key: Node; value: Node | null }[]) {
        if (!isScalar(key)) {
          this.document.fault({ offset: offsetOf(key, 0), path }, "a key must be a plain name");
          continue;
        }
        const name = keyText(key);
        const at = { offset: offsetOf(key, 0), path: formatPath(path, [name]) };
        const first = keys.get(name);
        if (first) {
          const { line } = this.document.position(offsetOf(first, 0));
          this.document.fault(at, `the key "${name}" stands here a second time; the first is in line ${line}`);
        } else {
          keys.set(name, key);
        }
        add(this.visit(value, at.path, depth + 1));
      }
    } else {
      const { value, source } = node as Scalar;
      if (!(value === null || ["string", "boolean"].includes(typeof value) || Number.isFinite(value))) {
        this.document.fault({ offset: offsetOf(node, 0), path }, `${source} is not a JSON value`);
      }
    }
    return total;
  }

  #fatal(node: Node, path: string, message: string): never {
    this.document.fault({ offset: offsetOf(node, 0), path }, message);
    return this.document.throwFaults();
  }
}

const LEAF = { values: 1, height: 0 };

function keyText(key: Scalar): string {
  return typeof key.value === "string" ? key.value : key.source!;
}

function offsetOf(node: Node | null, otherwise: number): number {
  return node?.range?.[0] ?? otherwise;
}

function sentence(message: string): string {
  const short = message.length > 200 ? `${message.slice(0, 200)}…` : message;
  return short.charAt(0).toLowerCase() + short.slice(1);
}
