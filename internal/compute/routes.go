package compute

import (
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
)

// routes is the whole API; each resource's lines stand at the head of its own file.
func (s *Service) routes() []api.Route {
	return slices.Concat(
		versionRoutes(),
		s.flavorRoutes(),
		s.keypairRoutes(),
		s.serverRoutes(),
		s.metadataRoutes(),
		s.tagRoutes(),
		s.interfaceRoutes(),
		s.actionRoutes(),
		s.partRoutes(),
		s.refusalRoutes(),
		s.groupRoutes(),
		s.aggregateRoutes(),
		s.serviceRoutes(),
		s.hypervisorRoutes(),
		s.hostRoutes(),
		s.quotaRoutes(),
		s.usageRoutes(),
		s.extensionRoutes(),
		s.networkProxyRoutes(),
		s.groupProxyRoutes(),
		s.imageProxyRoutes(),
	)
}
