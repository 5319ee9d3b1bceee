import type { MetadataDocument } from "../port.ts";
import type {
  ActionType,
  Balloon,
  BootSource,
  Drive,
  EntropyDevice,
  MachineConfiguration,
  MmdsConfig,
  NetworkInterface,
  Vsock,
} from "./types.ts";

/** One request that changes something. */
export interface ApiRequest {
  method: "PUT" | "PATCH";
  path: string;
  body: object;
}

const put = (path: string, body: object): ApiRequest => ({ method: "PUT", path, body });

/** Every request that the client can send, by what it is for. */
export const requests = {
  machine: (body: MachineConfiguration) => put("/machine-config", body),
  boot: (body: BootSource) => put("/boot-source", body),
  drive: (body: Drive) => put(`/drives/${body.drive_id}`, body),
  network: (body: NetworkInterface) => put(`/network-interfaces/${body.iface_id}`, body),
  mmdsConfig: (body: MmdsConfig) => put("/mmds/config", body),
  mmds: (body: MetadataDocument) => put("/mmds", body),
  vsock: (body: Vsock) => put("/vsock", body),
  balloon: (body: Balloon) => put("/balloon", body),
  entropy: (body: EntropyDevice) => put("/entropy", body),
  action: (action_type: ActionType) => put("/actions", { action_type }),
} as const;
