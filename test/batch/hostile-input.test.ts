import { describe, expect, test } from "vitest";
import { holdClockAndQueue, HeldBatch } from "../support/held-batch.ts";

holdClockAndQueue();

function line(customId: string, model = "m"): string {
  const body = { model, messages: [{ role: "user", content: "x" }] };
  return JSON.stringify({ custom_id: customId, method: "POST", url: "/v1/chat/completions", body });
}

async function judge(lines: readonly string[]) {
  const batch = await HeldBatch.launch({ input: lines.join("\n") });
  return { batch, record: (await batch.snapshot()) ?? (await batch.row()) };
}

describe("an input", () => {
  test("with more reasons to refuse it than a row of 2 MB would hold is refused all the same", async () => {
    // Each character takes six bytes in JSON, and each line but the first is a duplicate.
    const { record } = await judge(Array.from({ length: 1500 }, () => line("\0".repeat(512))));
    expect(record).toMatchObject({ status: "failed", counts: { total: 0 } });
    expect(record?.errors).toHaveLength(1000);
    expect(record?.errors?.[0]).toMatchObject({ code: "duplicate_custom_id", line: 2 });
    expect(record?.errors?.[0]?.message).toContain(`'${"\0".repeat(100)}…'`);
  });

  test("with a model's name of 3 MB runs, and does not show it", async () => {
    const { record } = await judge([line("a", "m".repeat(3_000_000))]);
    expect(record).toMatchObject({ status: "in_progress", model: null, counts: { total: 1 } });
  });

  test("shows the one model that all lines name, and none when one is longer than is shown", async () => {
    const longest = "m".repeat(256);
    expect((await judge([line("a", longest), line("b", longest)])).record).toMatchObject({ model: longest });
    expect((await judge([line("a", longest), line("b", `${longest}m`)])).record).toMatchObject({ model: null });
    expect((await judge([line("a", `${longest}m`), line("b", longest)])).record).toMatchObject({ model: null });
  });

  test.each([
    ["a", 512],
    ["💥", 512],
  ])("may have ids of 512 characters such as %s", async (character, most) => {
    expect((await judge([line(character.repeat(most))])).record).toMatchObject({ status: "in_progress" });
    const { record } = await judge([line(character.repeat(most + 1))]);
    expect(record).toMatchObject({
      status: "failed",
      errors: [
        {
          code: "string_above_max_length",
          message:
            "Invalid 'custom_id': string too long. Expected a string with maximum length 512, but got a string with length 513 instead.",
          param: "custom_id",
          line: 1,
        },
      ],
    });
  });

  test("tells ids apart that differ in half a character only", async () => {
    const start = "a".repeat(100);
    const ids = [`${start}\uD800`, `${start}\uD801`, `${start}\uFFFD`];
    const { batch, record } = await judge(ids.map((id) => line(id)));
    expect(record).toMatchObject({ status: "in_progress", counts: { total: 3 } });
    await batch.stub.cancel();
    await batch.alarm();
    const lines = await batch.readLines((await batch.row())?.errorFileId);
    expect(lines.map((it) => it["custom_id"])).toEqual(ids);
  });
});
