package compute

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// maxTags is the most tags of a server (nova/objects/instance.py, MAX_TAG_COUNT).
const maxTags = 50

type tagsBody struct {
	Tags []string `json:"tags"`
}

func (s *Service) tagRoutes() []api.Route {
	all, one := "/v2.1/servers/{id}/tags", "/v2.1/servers/{id}/tags/{tag}"
	mv := api.MV("2.26-")
	return []api.Route{
		api.Handle("GET", all, api.Object(pTags+"index"), 200, s.indexTags, mv),
		api.Handle("PUT", all, api.Object(pTags+"update_all"), 200, s.replaceTags, body(serverTagsUpdateAllBody()), mv),
		api.Handle("DELETE", all, api.Object(pTags+"delete_all"), 204, s.deleteTags, mv),
		api.Handle("GET", one, api.Object(pTags+"show"), 204, s.showTag, mv),
		api.Handle("PUT", one, api.Object(pTags+"update"), 201, s.putTag, mv),
		api.Handle("DELETE", one, api.Object(pTags+"delete"), 204, s.deleteTag, mv),
	}
}

// tagged finds a server for a rule about its tags. Upstream asks the server's mapping, which it finds for everybody, so that other projects
// are refused and not told that there is no such server (nova/api/openstack/compute/server_tags.py).
func tagged(tx *db.Tx, r *api.Request, rule string, lock bool) (*Server, error) {
	v, err := serverFor(tx, r, r.Path("id"), true, false, lock)
	if err != nil {
		r.Asked()
		return nil, err
	}
	return v, r.Enforce(pTags+rule, v.target())
}

func (s *Service) readTags(ctx context.Context, r *api.Request, rule string, read func(v *Server) error) error {
	return s.read(ctx, func(tx *db.Tx) error {
		v, err := tagged(tx, r, rule, false)
		if err != nil {
			return err
		}
		return read(v)
	})
}

func (s *Service) changeTags(ctx context.Context, r *api.Request, rule, name string, change func(v *Server) error) error {
	return s.write(ctx, func(tx *db.Tx) error {
		v, err := tagged(tx, r, rule, true)
		if err != nil {
			return err
		}
		if err := changeable(v, name, vmActive, vmPaused, vmSuspended, vmStopped); err != nil {
			return err
		}
		if err := change(v); err != nil {
			return err
		}
		return s.save(tx, v)
	})
}

func (s *Service) indexTags(ctx context.Context, r *api.Request, _ api.None) (out tagsBody, err error) {
	out.Tags = []string{}
	err = s.readTags(ctx, r, "index", func(v *Server) error {
		out.Tags = append(out.Tags, v.Tags.V...)
		return nil
	})
	return out, err
}

func (s *Service) replaceTags(ctx context.Context, r *api.Request, in tagsBody) (tagsBody, error) {
	out := tagsBody{Tags: []string{}}
	for _, t := range in.Tags {
		out.Tags = appendNew(out.Tags, t)
	}
	err := s.changeTags(ctx, r, "update_all", "update tags", func(v *Server) error {
		v.Tags.V = out.Tags
		return nil
	})
	return out, err
}

func (s *Service) deleteTags(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.changeTags(ctx, r, "delete_all", "delete tags", func(v *Server) error {
		v.Tags.V = nil
		return nil
	})
}

func (s *Service) showTag(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.readTags(ctx, r, "show", func(v *Server) error {
		if !slices.Contains(v.Tags.V, r.Path("tag")) {
			return fault.NotFound("Server %s has no tag '%s'", v.ID, r.Path("tag"))
		}
		return nil
	})
}

func (s *Service) putTag(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	tag := r.Path("tag")
	err := s.changeTags(ctx, r, "update", "update tag", func(v *Server) error {
		if e := schema.Nova.Validate(schema.NovaTag(), tag); e != nil {
			return fault.BadRequest("Tag '%s' is invalid. It must be a non empty string without characters '/' and ','. Validation error message: %s", tag, e.Message)
		}
		if slices.Contains(v.Tags.V, tag) {
			r.SetStatus(http.StatusNoContent)
			return nil
		}
		if len(v.Tags.V) >= maxTags {
			return fault.BadRequest("The number of tags exceeded the per-server limit %d", maxTags)
		}
		v.Tags.V = append(v.Tags.V, tag)
		slices.Sort(v.Tags.V)
		r.Header().Set("Location", r.ServiceURL()+"/v2.1/servers/"+v.ID+"/tags/"+url.PathEscape(tag))
		return nil
	})
	return api.None{}, err
}

func (s *Service) deleteTag(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.changeTags(ctx, r, "delete", "delete tag", func(v *Server) error {
		i := slices.Index(v.Tags.V, r.Path("tag"))
		if i < 0 {
			return fault.NotFound("Instance %s has no tag '%s'", v.ID, r.Path("tag"))
		}
		v.Tags.V = slices.Delete(v.Tags.V, i, i+1)
		return nil
	})
}
