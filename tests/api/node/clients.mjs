// Clients of the chat API: requests are lines of JSON on stdin, each answered by a line on stdout.

import { createInterface } from "node:readline";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, streamText, tool } from "ai";
import { EventSourceParserStream } from "eventsource-parser/stream";
import OpenAI from "openai";

const MODEL = "film";

async function openai({ url, key, messages, stream, tools }, said) {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const body = { model: MODEL, messages, citations: true, ...(tools.length ? { tools } : {}) };
  let completion;
  if (stream) {
    const streamed = client.chat.completions.stream({ ...body, stream_options: { include_usage: true } });
    streamed.on("content", (piece) => said.push(piece));
    completion = await streamed.finalChatCompletion();
  } else {
    completion = await client.chat.completions.create(body);
  }
  const [{ message, finish_reason }] = completion.choices;
  return {
    text: message.content ?? "",
    finish_reason,
    usage: [completion.usage.prompt_tokens, completion.usage.completion_tokens],
    citations: message.citations ?? null,
    calls: (message.tool_calls ?? []).map((call) => ({
      id: call.id,
      name: call.function.name,
      arguments: JSON.parse(call.function.arguments),
    })),
    message,
  };
}

async function aiSdk({ url, key, messages, stream, tools }, said) {
  const provider = createOpenAICompatible({ name: "quotebase", baseURL: `${url}/v1`, apiKey: key, includeUsage: true });
  const request = {
    model: provider(MODEL),
    messages,
    maxRetries: 0,
    providerOptions: { quotebase: { citations: true } },
    tools: Object.fromEntries(
      tools.map(({ function: { name, description, parameters } }) => [
        name,
        tool({ description, inputSchema: jsonSchema(parameters) }),
      ]),
    ),
  };
  const result = stream ? await streamed(request, said) : await generateText(request);
  const [text, finishReason, usage, calls, response] = await Promise.all([
    result.text,
    result.finishReason,
    result.totalUsage,
    result.toolCalls,
    result.response,
  ]);
  return {
    text,
    finish_reason: finishReason,
    usage: [usage.inputTokens, usage.outputTokens],
    // It passes the whole body on, but nothing of a stream that it does not know.
    citations: response.body?.choices[0].message.citations ?? null,
    calls: calls.map((call) => ({ id: call.toolCallId, name: call.toolName, arguments: call.input })),
    message: response.messages[0],
  };
}

async function streamed(request, said) {
  const result = streamText({ ...request, onError: () => {} });
  for await (const part of result.fullStream) {
    if (part.type === "text-delta") said.push(part.text);
    if (part.type === "error") throw part.error;
  }
  return result;
}

async function events({ url, key, body }) {
  const response = await fetch(`${url}/api/v1/chat/completions`, {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const parsed = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
  const found = [];
  for await (const { event, data } of parsed) found.push([event ?? "message", data]);
  return found;
}

// The AI SDK hands on what a stream says of its failure: a part of the stream, and no Error.
function described(error) {
  if (!(error instanceof Error)) return { kind: "error part", message: String(error.message ?? error) };
  return { kind: error.constructor.name === "Error" ? error.name : error.constructor.name, message: error.message };
}

const CLIENTS = { "npm openai": openai, "npm ai": aiSdk, events };

for await (const line of createInterface({ input: process.stdin })) {
  const { client, ...request } = JSON.parse(line);
  const said = [];
  let outcome;
  try {
    outcome = { reply: await CLIENTS[client](request, said) };
  } catch (error) {
    outcome = { failed: { ...described(error), said: said.join("") } };
  }
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
}
