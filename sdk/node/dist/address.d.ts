/** The first of these environment variables that is set, without spaces and quotes around it. */
export declare function variable(...names: string[]): string;
/** The URL of a server without a slash at its end; where it listens on every interface, of this machine. Throws BadInput. */
export declare function urlOf(text: string): string;
