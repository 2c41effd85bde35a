package compute

import (
	"context"
	"maps"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

type metadataIn struct {
	Metadata map[string]string `json:"metadata"`
}

type metaIn struct {
	Meta map[string]string `json:"meta"`
}

func (s *Service) metadataRoutes() []api.Route {
	all, one := "/v2.1/servers/{id}/metadata", "/v2.1/servers/{id}/metadata/{key}"
	return []api.Route{
		api.Handle("GET", all, api.Object(pMetadata+"index"), 200, s.indexMetadata),
		api.Handle("POST", all, api.Object(pMetadata+"create"), 200, s.createMetadata, body(serverMetadataCreateBody())),
		api.Handle("PUT", all, api.Object(pMetadata+"update_all"), 200, s.replaceMetadata, body(serverMetadataUpdateAllBody())),
		api.Handle("GET", one, api.Object(pMetadata+"show"), 200, s.showMeta),
		api.Handle("PUT", one, api.Object(pMetadata+"update"), 200, s.putMeta, body(serverMetadataUpdateBody())),
		api.Handle("DELETE", one, api.Object(pMetadata+"delete"), 204, s.deleteMeta),
	}
}

// changeMetadata applies a change within the quota and tells the node: the guest reads its metadata at any time.
func (s *Service) changeMetadata(ctx context.Context, r *api.Request, rule string, change func(v *Server, m map[string]string) error) (out map[string]string, err error) {
	err = s.withServer(ctx, r, pMetadata+rule, func(tx *db.Tx, v *Server) error {
		if err := s.unlocked(r, v); err != nil {
			return err
		}
		if err := changeable(v, rule+" metadata", vmActive, vmPaused, vmSuspended, vmStopped); err != nil {
			return err
		}
		m := maps.Clone(v.Metadata.V)
		if m == nil {
			m = map[string]string{}
		}
		if err := change(v, m); err != nil {
			return err
		}
		limits, err := s.limits(tx, v.ProjectID, v.UserID)
		if err != nil {
			return err
		}
		if max := limits["metadata_items"]; max >= 0 && int64(len(m)) > max {
			return fault.Forbidden("Maximum number of metadata items exceeds %d", max)
		}
		v.Metadata.V, out = m, m
		return s.save(tx, v)
	})
	return out, err
}

func (s *Service) indexMetadata(ctx context.Context, r *api.Request, _ api.None) (out metadataIn, err error) {
	out.Metadata = map[string]string{}
	err = s.readServer(ctx, r, pMetadata+"index", func(_ *db.Tx, v *Server) error {
		maps.Copy(out.Metadata, v.Metadata.V)
		return nil
	})
	return out, err
}

func (s *Service) createMetadata(ctx context.Context, r *api.Request, in metadataIn) (metadataIn, error) {
	m, err := s.changeMetadata(ctx, r, "create", func(_ *Server, m map[string]string) error {
		maps.Copy(m, in.Metadata)
		return nil
	})
	return metadataIn{m}, err
}

func (s *Service) replaceMetadata(ctx context.Context, r *api.Request, in metadataIn) (metadataIn, error) {
	m, err := s.changeMetadata(ctx, r, "update_all", func(_ *Server, m map[string]string) error {
		clear(m)
		maps.Copy(m, in.Metadata)
		return nil
	})
	return metadataIn{m}, err
}

func noMeta() error { return fault.NotFound("Metadata item was not found") }

func (s *Service) showMeta(ctx context.Context, r *api.Request, _ api.None) (out metaIn, err error) {
	err = s.readServer(ctx, r, pMetadata+"show", func(_ *db.Tx, v *Server) error {
		m, ok := v.Metadata.V[r.Path("key")]
		if !ok {
			return noMeta()
		}
		out.Meta = map[string]string{r.Path("key"): m}
		return nil
	})
	return out, err
}

func (s *Service) putMeta(ctx context.Context, r *api.Request, in metaIn) (metaIn, error) {
	if _, ok := in.Meta[r.Path("key")]; !ok {
		r.Asked()
		return in, fault.BadRequest("Request body and URI mismatch")
	}
	_, err := s.changeMetadata(ctx, r, "update", func(_ *Server, m map[string]string) error {
		maps.Copy(m, in.Meta)
		return nil
	})
	return in, err
}

func (s *Service) deleteMeta(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	_, err := s.changeMetadata(ctx, r, "delete", func(_ *Server, m map[string]string) error {
		if _, ok := m[r.Path("key")]; !ok {
			return noMeta()
		}
		delete(m, r.Path("key"))
		return nil
	})
	return api.None{}, err
}
