/** Headers of the runner protocol; both forges read the same names. */
export const RUNNER_UUID_HEADER = "x-runner-uuid";
export const RUNNER_TOKEN_HEADER = "x-runner-token";
/** Forgejo 15 and newer: a repeated FetchTask with the same key is given the same task again. */
export const REQUEST_KEY_HEADER = "x-runner-request-key";
/** Where a forge serves the runner protocol, below its base URL. */
export const RUNNER_RPC_PATH = "/api/actions";
