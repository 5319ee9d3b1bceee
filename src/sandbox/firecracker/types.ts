/** Bodies of Firecracker's API, as far as they are sent. Names are the API's; paths are as the monitor sees them. */

export interface MachineConfiguration {
  vcpu_count: number;
  mem_size_mib: number;
  smt?: boolean;
  huge_pages?: "2M";
}

export interface BootSource {
  kernel_image_path: string;
  initrd_path?: string;
  boot_args: string;
}

/** `size` tokens (bytes or operations) come back in `refill_time` milliseconds. */
interface TokenBucket {
  size: number;
  refill_time: number;
}

export interface RateLimiter {
  bandwidth?: TokenBucket;
  ops?: TokenBucket;
}

export interface Drive {
  drive_id: string;
  is_root_device: boolean;
  is_read_only: boolean;
  path_on_host: string;
  cache_type?: "Unsafe" | "Writeback";
  rate_limiter?: RateLimiter;
}

export interface NetworkInterface {
  iface_id: string;
  host_dev_name: string;
  guest_mac: string;
  rx_rate_limiter?: RateLimiter;
  tx_rate_limiter?: RateLimiter;
}

export interface MmdsConfig {
  version: "V1" | "V2";
  network_interfaces: string[];
  imds_compat?: true;
}

export interface Vsock {
  guest_cid: number;
  uds_path: string;
}

export interface Balloon {
  amount_mib: number;
  deflate_on_oom: boolean;
  free_page_reporting?: true;
}

export interface EntropyDevice {
  rate_limiter?: RateLimiter;
}

export interface InstanceInfo {
  id: string;
  state: "Not started" | "Running" | "Paused";
  vmm_version: string;
}

export type ActionType = "InstanceStart" | "FlushMetrics" | "SendCtrlAltDel";
