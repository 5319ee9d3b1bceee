/** A value after expansion, or what is wrong with it. `names` are the variables it used. */
export interface Expansion {
  text: string;
  problems: string[];
}

/**
 * Replaces `${NAME}` by the environment variable and `$$` by a dollar. Every other dollar is a mistake: the file never
 * guesses. What comes from a variable is not looked at again.
 * @param secret leaves the value's own text out of messages
 */
export function expand(text: string, env: NodeJS.ProcessEnv, secret: boolean): Expansion {
  const problems: string[] = [];
  const expanded = text.replaceAll(/\$(?:\$|\{([^{}]*)\}|(\w*))/g, (found, braced?: string, bare?: string) => {
    if (found === "$$") return "$";
    const problem = braced === undefined ? bareDollar(bare ?? "", secret) : unusable(braced, env);
    if (problem !== undefined) problems.push(problem);
    return braced === undefined ? "" : (env[braced] ?? "");
  });
  return { text: expanded, problems };
}

function bareDollar(name: string, secret: boolean): string {
  if (secret || !/^[A-Za-z_]\w{0,63}$/.test(name)) {
    return "a dollar sign must be written as $$, or start a variable as in ${NAME}";
  }
  return `a variable is written with braces: \${${name}} instead of $${name} (a dollar sign itself is $$)`;
}

function unusable(name: string, env: NodeJS.ProcessEnv): string | undefined {
  if (!/^[A-Za-z_]\w{0,63}$/.test(name))
    return "between ${ and } there must be the name of an environment variable, and nothing else";
  return env[name] === undefined ? `the environment variable ${name} is not set` : undefined;
}
