package network

import (
	"context"
	"net/http"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

func tagNotFound(tag string) *fault.Error {
	return notFound("TagNotFound", "Tag %s could not be found.", tag)
}

// tagRoutes are /{collection}/{id}/tags of a kind.
func (s *Service) tagRoutes(r *resource) []api.Route {
	base := "/v2.0/" + r.urlPath() + "/{id}/tags"
	get, update, remove := "get_"+r.name+":tags", "update_"+r.name+":tags", "delete_"+r.name+":tags"
	set := func(ctx context.Context, q *api.Request, rule string, fn func(s *standard) error) error {
		_, err := s.withTags(ctx, q, r, rule, true, fn)
		return err
	}
	none := func(ctx context.Context, q *api.Request, _ api.None) (api.None, error) {
		return api.None{}, set(ctx, q, remove, func(o *standard) error { o.Tags = nil; return nil })
	}
	return []api.Route{
		api.Handle("GET", base, api.Object(get), http.StatusOK, func(ctx context.Context, q *api.Request, _ api.None) (map[string][]string, error) {
			tags, err := s.withTags(ctx, q, r, get, false, nil)
			return map[string][]string{"tags": tags}, err
		}),
		api.Handle("PUT", base, api.Object(update), http.StatusOK, func(ctx context.Context, q *api.Request, in map[string]any) (map[string][]string, error) {
			want, err := tagsBody(in)
			if err != nil {
				q.Asked()
				return nil, err
			}
			tags, err := s.withTags(ctx, q, r, update, true, func(o *standard) error { o.Tags = want; return nil })
			return map[string][]string{"tags": tags}, err
		}),
		api.Handle("DELETE", base, api.Object(remove), http.StatusNoContent, none),
		api.Handle("GET", base+"/{tag}", api.Object(get), http.StatusNoContent, func(ctx context.Context, q *api.Request, _ api.None) (api.None, error) {
			tags, err := s.withTags(ctx, q, r, get, false, nil)
			if err == nil && !slices.Contains(tags, q.Path("tag")) {
				err = tagNotFound(q.Path("tag"))
			}
			return api.None{}, err
		}),
		api.Handle("PUT", base+"/{tag}", api.Object(update), http.StatusCreated, func(ctx context.Context, q *api.Request, _ api.None) (api.JSON, error) {
			tag := q.Path("tag")
			if p := stringProblem(tag, 255); p != "" {
				q.Asked()
				return nil, invalidInput("%s", p)
			}
			return api.JSON("null"), set(ctx, q, update, func(o *standard) error {
				if !slices.Contains(o.Tags, tag) {
					o.Tags = append(o.Tags, tag)
				}
				return nil
			})
		}),
		api.Handle("DELETE", base+"/{tag}", api.Object(remove), http.StatusNoContent, func(ctx context.Context, q *api.Request, _ api.None) (api.None, error) {
			tag := q.Path("tag")
			return api.None{}, set(ctx, q, remove, func(o *standard) error {
				i := slices.Index(o.Tags, tag)
				if i < 0 {
					return tagNotFound(tag)
				}
				o.Tags = slices.Delete(o.Tags, i, i+1)
				return nil
			})
		}),
	}
}

func tagsBody(in map[string]any) ([]string, error) {
	v, ok := in["tags"]
	if !ok || len(in) != 1 || hasNUL(v) {
		return nil, invalidInput("Invalid tags body")
	}
	if p, _ := vTags(plain(v)); p != "" {
		return nil, invalidInput("%s", p)
	}
	return values(in).strings("tags"), nil
}

// withTags finds the object, asks the rule and, to write, changes and saves.
func (s *Service) withTags(ctx context.Context, q *api.Request, r *resource, rule string, write bool, fn func(o *standard) error) ([]string, error) {
	q.Asked()
	var tags []string
	run := s.o.DB.Read
	if write {
		run = s.o.DB.Write
	}
	err := run(ctx, func(tx *db.Tx) error {
		c := s.call(tx, q, q.Caller)
		o, shared, err := c.findAny(r, q.Path("id"))
		if fault.Is(err, http.StatusNotFound) {
			return notFound("TagResourceNotFound", "Resource %s %s could not be found.", r.collection, q.Path("id"))
		}
		if err != nil {
			return err
		}
		// Upstream looks the object up for everybody, so that a refusal is a 403 even to those who may not see it (neutron/extensions/tagging.py).
		if err := q.Enforce(rule, c.target(r, o.std().ProjectID, shared, o)); err != nil {
			return err
		}
		if write {
			if err := fn(o.std()); err != nil {
				return err
			}
			if err := save(tx, r.name, r.table, o.std()); err != nil {
				return err
			}
		}
		tags = emptyList(o.std().Tags)
		return nil
	})
	return tags, err
}
