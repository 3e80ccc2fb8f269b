/** Markdown tables. The first column is text; all others are figures and stand on the right. */
import { markdownTable } from "markdown-table";

export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return markdownTable([head, ...rows], { align: head.map((_, index) => (index === 0 ? "l" : "r")) });
}
