package placement

import (
	"context"

	"github.com/hanok-cloud/hanok/internal/api"
)

type versionView struct {
	ID         string `json:"id"`
	MaxVersion string `json:"max_version"`
	MinVersion string `json:"min_version"`
	Status     string `json:"status"`
	Links      []link `json:"links"`
}

// root tells the versions; its link is empty on purpose (placement/handlers/root.py).
func (s *Service) root(_ context.Context, r *api.Request, _ api.None) (map[string][]versionView, error) {
	s.stampNow(r)
	return map[string][]versionView{"versions": {{"v" + minVersion, maxVersion, minVersion, "CURRENT", []link{{"self", ""}}}}}, nil
}
