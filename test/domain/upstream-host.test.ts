import { expect, test } from "vitest";
import { isForeignAddress } from "../../src/domain/upstream-host.ts";

test.each([
  "http://203.0.113.5:8000/v1",
  "https://10.0.0.7/v1",
  "http://192.168.1.20:11434/v1",
  "http://0.0.0.0:8000/v1",
  "http://128.0.0.1/v1",
  "http://126.255.255.255/v1",
  // Other spellings of 10.0.0.7.
  "http://167772167/v1",
  "http://0xa000007/v1",
  "http://012.0.0.7/v1",
  "http://10.7/v1",
  "http://10.0.0.7./v1",
  "http://[2001:db8::1]:8000/v1",
  "http://[fd00::1]/v1",
  "http://[::]/v1",
  "http://[::2]/v1",
  "http://[::ffff:127.0.0.1]/v1",
])("%s names an address that the edge refuses", (url) => {
  expect(isForeignAddress(url)).toBe(true);
});

test.each([
  "https://api.openai.com/v1",
  "http://localhost:11434/v1",
  "http://127.0.0.1:11434/v1",
  "http://127.255.255.255/v1",
  "http://2130706433/v1",
  "http://0x7f.1/v1",
  "http://[::1]:8000/v1",
  "http://[0:0:0:0:0:0:0:1]:8000/v1",
  "http://10.0.0.7.nip.example/v1",
  "http://127.example.com/v1",
  "http://model-server/v1",
])("%s does not", (url) => {
  expect(isForeignAddress(url)).toBe(false);
});
