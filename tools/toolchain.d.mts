export const root: string;
export function ensureNode(major?: number, exact?: boolean): string;
export function ensureModules(node: string): void;
export function environment(node: string): NodeJS.ProcessEnv;
