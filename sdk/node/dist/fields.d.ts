export type Raw = Record<string, unknown>;
/** The object, and where it stands in the answer. A field of another type throws BadAnswer. */
export declare class Fields {
    #private;
    readonly raw: Raw;
    constructor(raw: unknown, where?: string);
    /** Read the object that this text holds. */
    static parse(text: string): Fields;
    /** Throw BadAnswer for an object of something else: one that lacks what it would always have. */
    needs(...names: string[]): void;
    text(name: string): string;
    number(name: string): number;
    flag(name: string): boolean;
    /** A moment; undefined where there is none. */
    time(name: string): Date | undefined;
    /** An object, an empty one where there is none. */
    inner(name: string): Fields;
    /** The objects of a list. */
    inners(name: string): Fields[];
    /** A list as it came, an empty one where there is none. */
    items(name: string): unknown[];
    texts(name: string): string[];
    numbers(name: string): number[];
    /** The rows of numbers in a field. */
    vectors(name: string): number[][];
}
