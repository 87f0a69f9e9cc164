/** Names under which clouds hand out their machines' keys. Their addresses are refused too; a name says more than an address. */
const metadata = [
  "instance-data",
  "instance-data.ec2.internal",
  "metadata",
  "metadata.azure.internal",
  "metadata.goog",
  "metadata.google.internal",
  "metadata.packet.net",
  "metadata.platformequinix.com",
  "metadata.tencentyun.com",
  "rancher-metadata"
]

/** Whether a host is such a name, or below one. */
export const isMetadataName = (host: string): boolean =>
  metadata.some((name) => host === name || host.endsWith(`.${name}`))
