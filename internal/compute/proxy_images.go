package compute

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

func (s *Service) imageProxyRoutes() []api.Route {
	all, one := "/v2.1/images", "/v2.1/images/{id}"
	mv, meta := proxyMV(), api.MV("2.1-2.38")
	return []api.Route{
		api.Handle("GET", all, api.Authenticated(), 200, s.proxyImages(false), mv),
		api.Handle("GET", all+"/detail", api.Authenticated(), 200, s.proxyImages(true), mv),
		api.Handle("GET", one, api.Authenticated(), 200, s.proxyImage, mv),
		api.Handle("DELETE", one, api.Authenticated(), 204, s.deleteImage, mv),
		api.Handle("GET", one+"/metadata", api.Authenticated(), 200, s.imageMetadata, meta),
		api.Handle("POST", one+"/metadata", api.Authenticated(), 200, s.changeImageMetadata(false), body(imageMetadataCreateBody()), meta),
		api.Handle("PUT", one+"/metadata", api.Authenticated(), 200, s.changeImageMetadata(true), body(imageMetadataUpdateAllBody()), meta),
		api.Handle("GET", one+"/metadata/{key}", api.Authenticated(), 200, s.imageMeta, meta),
		api.Handle("PUT", one+"/metadata/{key}", api.Authenticated(), 200, s.putImageMeta, body(imageMetadataUpdateBody()), meta),
		api.Handle("DELETE", one+"/metadata/{key}", api.Authenticated(), 204, s.deleteImageMeta, meta),
	}
}

// imageFields are what an image has besides properties (nova/image/glance.py).
var imageFields = []string{"id", "name", "status", "visibility", "protected", "checksum", "owner", "size", "virtual_size", "container_format", "disk_format", "created_at",
	"updated_at", "tags", "direct_url", "self", "file", "schema", "min_ram", "min_disk", "os_hash_algo", "os_hash_value", "os_hidden", "locations", "stores"}

// imageProperties are an image's own.
func imageProperties(m map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		if !slices.Contains(imageFields, k) {
			out[k] = v
		}
	}
	return out
}

var imageStatuses = map[string]struct {
	status   string
	progress int
}{"active": {"ACTIVE", 100}, "queued": {"SAVING", 25}, "saving": {"SAVING", 50}, "deleted": {"DELETED", 0}, "pending_delete": {"DELETED", 0}, "killed": {"ERROR", 0}}

func imageLinks(r *api.Request, id string) []link {
	return append(selfLinks(r, "images", id), link{Rel: "alternate", Type: "application/vnd.openstack.image", Href: r.BaseURL() + "/image/images/" + id})
}

func imageView(r *api.Request, m map[string]any, detail bool) map[string]any {
	id := pyString(m["id"])
	out := map[string]any{"id": id, "name": m["name"], "links": imageLinks(r, id)}
	if !detail {
		return out
	}
	st, ok := imageStatuses[pyString(m["status"])]
	if !ok {
		st.status = "UNKNOWN"
	}
	props := imageProperties(m)
	out["minRam"], out["minDisk"], out["metadata"] = anyInt(m["min_ram"], 0), anyInt(m["min_disk"], 0), props
	out["created"], out["updated"], out["status"], out["progress"], out["OS-EXT-IMG-SIZE:size"] = m["created_at"], m["updated_at"], st.status, st.progress, m["size"]
	if server := pyString(props["instance_uuid"]); server != "" {
		out["server"] = map[string]any{"id": server, "links": selfLinks(r, "servers", server)}
	}
	if v, ok := props["auto_disk_config"]; ok {
		out["OS-DCF:diskConfig"] = diskConfig(anyBool(v, false))
	}
	return out
}

// imageQuery translates the filters (nova/api/openstack/compute/images.py, SUPPORTED_FILTERS).
func imageQuery(r *api.Request) (url.Values, error) {
	q := url.Values{}
	names := map[string]string{"name": "name", "status": "status", "server": "instance_uuid", "type": "image_type", "minRam": "min_ram", "minDisk": "min_disk"}
	for k, v := range r.Query() {
		switch {
		case k == "changes-since":
			if _, err := parseISO(v[0]); err != nil {
				return nil, fault.BadRequest("Invalid changes-since")
			}
			q.Set("updated_at", "gte:"+v[0])
		case names[k] != "":
			q.Set(names[k], v[0])
		case strings.HasPrefix(k, "property-"):
			q.Set(strings.TrimPrefix(k, "property-"), v[0])
		case k == "marker":
			q.Set(k, v[0])
		}
	}
	if v := q.Get("instance_uuid"); v != "" {
		q.Set("instance_uuid", lastPart(v))
	}
	if v := q.Get("status"); v != "" {
		q.Set("status", strings.ToLower(v))
	}
	limit, _, err := page(r)
	q.Set("limit", pyText(limit))
	return q, err
}

func (s *Service) proxyImages(detail bool) func(context.Context, *api.Request, api.None) (map[string]any, error) {
	return func(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
		q, err := imageQuery(r)
		if err != nil {
			return nil, err
		}
		got, err := s.ask(ctx, r, "GET", "/image/v2/images?"+q.Encode(), nil)
		if err != nil {
			return nil, err
		}
		docs := []map[string]any{}
		for _, m := range objects(got["images"]) {
			docs = append(docs, imageView(r, m, detail))
		}
		out := map[string]any{"images": docs}
		if len(docs) > 0 && pyText(len(docs)) == q.Get("limit") {
			collection := "images"
			if detail {
				collection += "/detail"
			}
			out["images_links"] = nextLink(r, collection, pyString(docs[len(docs)-1]["id"]))
		}
		return out, nil
	}
}

func imagePath(r *api.Request) string { return "/image/v2/images/" + url.PathEscape(r.Path("id")) }

func (s *Service) imageOf(ctx context.Context, r *api.Request) (map[string]any, error) {
	m, err := s.ask(ctx, r, "GET", imagePath(r), nil)
	if fault.Is(err, 404) || fault.Is(err, 400) {
		err = fault.NotFound("Image not found.")
	}
	return m, err
}

func (s *Service) proxyImage(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	m, err := s.imageOf(ctx, r)
	if err != nil {
		return nil, err
	}
	return map[string]any{"image": imageView(r, m, true)}, nil
}

func (s *Service) deleteImage(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	_, err := s.ask(ctx, r, "DELETE", imagePath(r), nil)
	switch {
	case fault.Is(err, 404), fault.Is(err, 400):
		err = fault.NotFound("Image not found.")
	case fault.Is(err, 403):
		err = fault.Forbidden("You are not allowed to delete the image.")
	}
	return api.None{}, err
}

func (s *Service) imageMetadata(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	m, err := s.imageOf(ctx, r)
	return map[string]any{"metadata": imageProperties(m)}, err
}

func (s *Service) imageMeta(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	m, err := s.imageOf(ctx, r)
	if err != nil {
		return nil, err
	}
	v, ok := imageProperties(m)[r.Path("key")]
	if !ok {
		return nil, fault.NotFound("The resource could not be found.")
	}
	return map[string]any{"meta": map[string]any{r.Path("key"): v}}, nil
}

// patchImage makes the image's properties the wanted ones.
func (s *Service) patchImage(ctx context.Context, r *api.Request, have, want map[string]any) error {
	var limits map[string]int64
	if err := s.read(ctx, func(tx *db.Tx) (err error) {
		limits, err = s.limits(tx, r.ProjectID(), r.UserID())
		return err
	}); err != nil {
		return err
	}
	if max := limits["metadata_items"]; max >= 0 && int64(len(want)) > max {
		return fault.Forbidden("Image metadata limit exceeded")
	}
	pointer := func(k string) string { return "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(k) }
	ops := []map[string]any{}
	for _, k := range slices.Sorted(maps.Keys(have)) {
		if _, keep := want[k]; !keep {
			ops = append(ops, map[string]any{"op": "remove", "path": pointer(k)})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		op := "add"
		if _, there := have[k]; there {
			op = "replace"
		}
		ops = append(ops, map[string]any{"op": op, "path": pointer(k), "value": want[k]})
	}
	if len(ops) == 0 {
		return nil
	}
	_, err := s.ask(ctx, r, "PATCH", imagePath(r), ops)
	return err
}

func (s *Service) changeImageMetadata(replace bool) func(context.Context, *api.Request, map[string]any) (map[string]any, error) {
	return func(ctx context.Context, r *api.Request, in map[string]any) (map[string]any, error) {
		m, err := s.imageOf(ctx, r)
		if err != nil {
			return nil, err
		}
		have := imageProperties(m)
		want := map[string]any{}
		if !replace {
			maps.Copy(want, have)
		}
		given, _ := in["metadata"].(map[string]any)
		maps.Copy(want, given)
		return map[string]any{"metadata": want}, s.patchImage(ctx, r, have, want)
	}
}

func (s *Service) putImageMeta(ctx context.Context, r *api.Request, in map[string]any) (map[string]any, error) {
	meta, _ := in["meta"].(map[string]any)
	v, ok := meta[r.Path("key")]
	if !ok {
		return nil, fault.BadRequest("Request body and URI mismatch")
	}
	m, err := s.imageOf(ctx, r)
	if err != nil {
		return nil, err
	}
	have := imageProperties(m)
	want := maps.Clone(have)
	want[r.Path("key")] = v
	return map[string]any{"meta": meta}, s.patchImage(ctx, r, have, want)
}

func (s *Service) deleteImageMeta(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	m, err := s.imageOf(ctx, r)
	if err != nil {
		return api.None{}, err
	}
	have := imageProperties(m)
	if _, ok := have[r.Path("key")]; !ok {
		return api.None{}, fault.NotFound("Invalid metadata key")
	}
	want := maps.Clone(have)
	delete(want, r.Path("key"))
	return api.None{}, s.patchImage(ctx, r, have, want)
}
