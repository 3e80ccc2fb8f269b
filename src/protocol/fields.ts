/** Schemas of single fields that several requests share. Each refuses with an issue that `refusal.ts` knows. */
import * as z from "zod";

/** One of a list of strings; anything but a string is refused by its type. */
export function oneOf<const Value extends string>(values: readonly Value[]) {
  return z.string().transform((text, context): Value => {
    const known = values.find((value) => value === text);
    if (known !== undefined) return known;
    context.issues.push({ code: "invalid_value", values: [...values], input: text });
    return z.NEVER;
  });
}

/** A whole number within bounds. */
export function integer(least: number, most: number) {
  return z
    .number()
    .check(({ value, issues }) => {
      if (!Number.isInteger(value)) issues.push({ code: "invalid_type", expected: "int", input: value });
    })
    .min(least)
    .max(most);
}

/** A whole number within bounds that comes as text: in a query or a form. */
export function integerText(least: number, most: number) {
  return z
    .string()
    .transform((text, context): number => {
      if (/^-?[0-9]{1,15}$/.test(text)) return Number(text);
      context.issues.push({ code: "invalid_type", expected: "int", input: text });
      return z.NEVER;
    })
    .pipe(integer(least, most));
}
