package placement

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/db"
)

type providerView struct {
	UUID       string  `json:"uuid"`
	Name       string  `json:"name"`
	Generation int64   `json:"generation"`
	Links      []link  `json:"links"`
	Parent     *string `json:"parent_provider_uuid" mv:"1.14-"`
	Root       string  `json:"root_provider_uuid" mv:"1.14-"`
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func viewProvider(r *api.Request, p provider) providerView {
	v := providerView{UUID: p.UUID, Name: p.Name, Generation: p.Generation, Parent: orNull(p.Parent), Root: p.Root}
	url := path("resource_providers", p.UUID)
	v.Links = []link{{"self", url}, {"inventories", url + "/inventories"}, {"usages", url + "/usages"}}
	for _, l := range []struct{ mv, rel string }{{"1.1", "aggregates"}, {"1.6", "traits"}, {"1.11", "allocations"}} {
		if r.Since(l.mv) {
			v.Links = append(v.Links, link{l.rel, url + "/" + l.rel})
		}
	}
	return v
}

// load finds the provider of the path.
func load(tx *db.Tx, id string) (provider, error) {
	p, err := providerByUUID(tx, id)
	if errors.Is(err, db.ErrNotFound) {
		return p, notFound("No resource provider with uuid %s found", id)
	}
	return p, err
}

func (s *Service) createProvider(ctx context.Context, r *api.Request, in *api.Stream) (any, error) {
	doc, err := body(r, in, providerSchema(true, r.Since("1.14")))
	if err != nil {
		return nil, err
	}
	p := provider{UUID: uuid.NewString()}
	p.Name, _ = str(doc, "name")
	if id, ok := str(doc, "uuid"); ok && id != "" {
		p.UUID, _ = normalUUID(id)
	}
	parent, _ := str(doc, "parent_provider_uuid")
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if err := place(tx, &p, parent); err != nil {
			return badRequest("Unable to create resource provider \"%s\", %s: %s", p.Name, p.UUID, err)
		}
		old, err := db.All(tx, scanProvider, `SELECT `+providerColumns+` FROM placement_providers p WHERE p.uuid = $1 OR p.name = $2`, p.UUID, p.Name)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(old, func(o provider) bool { return o.UUID == p.UUID }) {
			return conflict(codeDuplicateName, "Conflicting resource provider uuid: %s already exists.", p.UUID)
		}
		if len(old) > 0 {
			return conflict(codeDuplicateName, "Conflicting resource provider name: %s already exists.", p.Name)
		}
		if err := insertProvider(tx, p); err != nil {
			if db.IsConflict(err, "") {
				return conflict(codeDuplicateName, "Conflicting resource provider name: %s already exists.", p.Name)
			}
			return err
		}
		p, err = providerByUUID(tx, p.UUID)
		return err
	})
	if err != nil {
		return nil, err
	}
	location(r, "resource_providers", p.UUID)
	if !r.Since("1.20") {
		r.SetStatus(http.StatusCreated)
		return api.None{}, nil
	}
	stamp(r, p.UpdatedAt)
	return viewProvider(r, p), nil
}

// place sets the new provider's parent and root; the error is upstream's ObjectActionError.
func place(tx *db.Tx, p *provider, parent string) error {
	p.Root = p.UUID
	if p.Name == "" {
		return errors.New("Object action create failed because: name is required")
	}
	if parent == "" {
		return nil
	}
	if id, ok := normalUUID(parent); ok {
		parent = id
	}
	if parent == p.UUID {
		return errors.New("Object action create failed because: parent provider UUID cannot be same as UUID. Please set parent provider UUID to None if there is no parent.")
	}
	up, err := lockProvider(tx, parent)
	if errors.Is(err, db.ErrNotFound) {
		return errors.New("Object action create failed because: parent provider UUID does not exist.")
	}
	p.Parent, p.Root = up.UUID, up.Root
	return err
}

// lockProvider holds a provider's row, so that it cannot be deleted or moved meanwhile.
func lockProvider(tx *db.Tx, id string) (provider, error) {
	if _, err := tx.Exec(`UPDATE placement_providers SET generation = generation WHERE uuid = $1`, id); err != nil {
		return provider{}, err
	}
	return providerByUUID(tx, id)
}

func (s *Service) showProvider(ctx context.Context, r *api.Request, _ api.None) (providerView, error) {
	if err := jsonOnly(r); err != nil {
		return providerView{}, err
	}
	var p provider
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		p, err = load(tx, r.Path("uuid"))
		return err
	})
	if err != nil {
		return providerView{}, err
	}
	stamp(r, p.UpdatedAt)
	return viewProvider(r, p), nil
}

func (s *Service) listProviders(ctx context.Context, r *api.Request, _ api.None) (map[string][]providerView, error) {
	if err := jsonOnly(r); err != nil {
		return nil, err
	}
	args, err := queryArgs(r, listProvidersSchema(r.Since))
	if err != nil {
		return nil, err
	}
	g, err := parseGroup(r, "")
	if err != nil {
		return nil, err
	}
	g.inTree = args["in_tree"]
	var found []provider
	err = s.db.Read(ctx, func(tx *db.Tx) (err error) {
		found, err = findProviders(tx, g, args["name"], args["uuid"])
		return err
	})
	if err != nil {
		return nil, err
	}
	views, last := make([]providerView, len(found)), int64(0)
	for i, p := range found {
		views[i] = viewProvider(r, p)
		last = max(last, p.UpdatedAt)
	}
	if last == 0 {
		last = s.db.Now().UnixMicro()
	}
	stamp(r, last)
	return map[string][]providerView{"resource_providers": views}, nil
}

// findProviders filters in one query.
func findProviders(tx *db.Tx, g group, name, id string) ([]provider, error) {
	if missing, err := unknownClasses(tx, sorted(g.resources)); err != nil {
		return nil, err
	} else if len(missing) > 0 {
		return nil, badRequest("Invalid resource class in resources parameter: No such resource class %s.", missing[0])
	}
	if missing, err := unknownTraits(tx, g.traitNames()); err != nil {
		return nil, err
	} else if len(missing) > 0 {
		return nil, badRequest("Invalid trait(s) in \"required\" parameter: No such trait(s): %s.", join(missing))
	}
	var w db.Where
	if name != "" {
		w.Add("p.name = ?", name)
	}
	if id != "" {
		norm, _ := normalUUID(id)
		w.Add("p.uuid = ?", norm)
	}
	if g.inTree != "" {
		norm, _ := normalUUID(g.inTree)
		w.Add("p.root_uuid = (SELECT t.root_uuid FROM placement_providers t WHERE t.uuid = ?)", norm)
	}
	for _, class := range sorted(g.resources) {
		n := g.resources[class]
		w.Add(`EXISTS (SELECT 1 FROM placement_inventories i WHERE i.provider_uuid = p.uuid AND i.resource_class = ? AND
			(i.total - i.reserved) * i.allocation_ratio >= i.used + ? AND i.min_unit <= ? AND i.max_unit >= ? AND ? % i.step_size = 0)`, class, n, n, n, n)
	}
	for _, m := range sets(Request{Required: g.required, Forbidden: g.forbidden, MemberOf: g.memberOf, NotIn: g.notIn}) {
		cond, args := m.condition()
		w.Add(cond, args...)
	}
	return db.All(tx, scanProvider, `SELECT `+providerColumns+` FROM placement_providers p`+w.SQL()+` ORDER BY p.created_at, p.uuid`, w.Args()...)
}

func (s *Service) updateProvider(ctx context.Context, r *api.Request, in *api.Stream) (providerView, error) {
	doc, err := body(r, in, providerSchema(false, r.Since("1.14")))
	if err != nil {
		return providerView{}, err
	}
	var p provider
	err = s.db.Write(ctx, func(tx *db.Tx) (err error) {
		id := r.Path("uuid")
		if p, err = lockProvider(tx, id); err != nil {
			if errors.Is(err, db.ErrNotFound) {
				return notFound("No resource provider with uuid %s found", id)
			}
			return err
		}
		name, _ := str(doc, "name")
		parent, given := doc.(*schema.Dict).Get("parent_provider_uuid")
		if given {
			to, _ := parent.(string)
			if why, err := move(tx, p, to, r.Since("1.37")); err != nil {
				return err
			} else if why != "" {
				return badRequest("Unable to save resource provider %s: %s", p.UUID, why)
			}
		}
		_, err = tx.Exec(`UPDATE placement_providers SET name = $2, updated_at = $3 WHERE uuid = $1`, p.UUID, name, tx.NowMicros())
		if db.IsConflict(err, "") {
			return conflict(codeDuplicateName, "Conflicting resource provider %s already exists.", name)
		}
		if err != nil {
			return err
		}
		p, err = providerByUUID(tx, p.UUID)
		return err
	})
	if err != nil {
		return providerView{}, err
	}
	stamp(r, p.UpdatedAt)
	return viewProvider(r, p), nil
}

// move gives a provider another parent, or none, and its subtree another root. A text says why it may not be.
func move(tx *db.Tx, p provider, to string, reparent bool) (why string, err error) {
	root := p.UUID
	switch {
	case to == "" && p.Parent == "":
		return "", nil
	case to == "":
		if !reparent {
			return "Object action update failed because: un-parenting a provider is not currently allowed.", nil
		}
	default:
		if id, ok := normalUUID(to); ok {
			to = id
		}
		up, err := lockProvider(tx, to)
		if errors.Is(err, db.ErrNotFound) {
			return "Object action create failed because: parent provider UUID does not exist.", nil
		}
		if err != nil {
			return "", err
		}
		if p.Parent != "" && p.Parent != to && !reparent {
			return "Object action update failed because: re-parenting a provider is not currently allowed.", nil
		}
		root = up.Root
	}
	tree, err := db.All(tx, scanProvider, `SELECT `+providerColumns+` FROM placement_providers p WHERE p.root_uuid = $1`, p.Root)
	if err != nil {
		return "", err
	}
	below := subtree(tree, p.UUID)
	for _, id := range below {
		if id == to {
			return "Object action update failed because: creating loop in the provider tree is not allowed.", nil
		}
	}
	if _, err := tx.Exec(`UPDATE placement_providers SET parent_uuid = $2 WHERE uuid = $1`, p.UUID, to); err != nil {
		return "", err
	}
	for _, id := range below {
		if _, err := tx.Exec(`UPDATE placement_providers SET root_uuid = $2 WHERE uuid = $1`, id, root); err != nil {
			return "", err
		}
	}
	return "", nil
}

// subtree lists a provider and all below it.
func subtree(tree []provider, id string) []string {
	out := []string{id}
	for n := 0; n < len(out); n++ {
		for _, p := range tree {
			if p.Parent == out[n] {
				out = append(out, p.UUID)
			}
		}
	}
	return out
}

func (s *Service) deleteProvider(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.db.Write(ctx, func(tx *db.Tx) error {
		id := r.Path("uuid")
		if _, err := lockProvider(tx, id); errors.Is(err, db.ErrNotFound) {
			return notFound("No resource provider with uuid %s found for delete", id)
		} else if err != nil {
			return err
		}
		children, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM placement_providers WHERE parent_uuid = $1`, id)
		if err != nil {
			return err
		}
		if children > 0 {
			return conflict(codeDeleteParent, "Unable to delete parent resource provider %s: It has child resource providers.", id)
		}
		err = RemoveProvider(tx, id)
		if errors.Is(err, ErrInUse) {
			return conflict(codeProviderInUse, "Unable to delete resource provider %s: %s", id, err)
		}
		return err
	})
}
