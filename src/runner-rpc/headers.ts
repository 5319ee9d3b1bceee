/** Headers of the runner protocol; both forges read the same names. */
export const RUNNER_UUID_HEADER = "x-runner-uuid";
export const RUNNER_TOKEN_HEADER = "x-runner-token";
/** Where a forge serves the runner protocol, below its base URL. */
export const RUNNER_RPC_PATH = "/api/actions";
