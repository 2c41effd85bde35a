package compute

// Prefixes of upstream's rule names.
const (
	pServers      = "os_compute_api:servers:"
	pKeypairs     = "os_compute_api:os-keypairs:"
	pFlavorManage = "os_compute_api:os-flavor-manage:"
	pFlavorAccess = "os_compute_api:os-flavor-access"
	pFlavorSpecs  = "os_compute_api:os-flavor-extra-specs:"
	pMetadata     = "os_compute_api:server-metadata:"
	pTags         = "os_compute_api:os-server-tags:"
	pInterfaces   = "os_compute_api:os-attach-interfaces:"
	pActions      = "os_compute_api:os-instance-actions:"
	pGroups       = "os_compute_api:os-server-groups:"
	pServices     = "os_compute_api:os-services:"
	pHypervisors  = "os_compute_api:os-hypervisors:"
	pAggregates   = "os_compute_api:os-aggregates:"
	pHosts        = "os_compute_api:os-hosts:"
	pQuotas       = "os_compute_api:os-quota-sets:"
	pQuotaClasses = "os_compute_api:os-quota-class-sets:"
	pSecGroups    = "os_compute_api:os-security-groups:"
	pFloatingIPs  = "os_compute_api:os-floating-ips:"
	pUsage        = "os_compute_api:os-simple-tenant-usage:"
	pZones        = "os_compute_api:os-availability-zone:"
	pVolumes      = "os_compute_api:os-volumes-attachments:"
	pExtended     = "os_compute_api:os-extended-server-attributes"
)
