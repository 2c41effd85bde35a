package placement

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/db"
)

type classView struct {
	Name  string `json:"name"`
	Links []link `json:"links"`
}

func viewClass(name string) classView {
	return classView{name, []link{{"self", path("resource_classes", name)}}}
}

func (s *Service) listClasses(ctx context.Context, r *api.Request, _ api.None) (map[string][]classView, error) {
	if err := jsonOnly(r); err != nil {
		return nil, err
	}
	var custom []string
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		custom, err = db.All(tx, db.Value[string], `SELECT name FROM placement_resource_classes ORDER BY created_at, name`)
		return err
	})
	if err != nil {
		return nil, err
	}
	views := make([]classView, 0, len(standardClasses)+len(custom))
	for _, name := range slices.Concat(standardClasses, custom) {
		views = append(views, viewClass(name))
	}
	s.stampNow(r)
	return map[string][]classView{"resource_classes": views}, nil
}

// loadClass is upstream's ResourceClassNotFound.
func loadClass(tx *db.Tx, name string) error {
	missing, err := unknownClasses(tx, []string{name})
	if err == nil && len(missing) > 0 {
		err = notFound("No such resource class %s.", name)
	}
	return err
}

func (s *Service) showClass(ctx context.Context, r *api.Request, _ api.None) (classView, error) {
	if err := jsonOnly(r); err != nil {
		return classView{}, err
	}
	name := r.Path("name")
	s.stampNow(r)
	return viewClass(name), s.db.Read(ctx, func(tx *db.Tx) error { return loadClass(tx, name) })
}

func insertClass(tx *db.Tx, name string) error {
	_, err := tx.Exec(`INSERT INTO placement_resource_classes (name, created_at) VALUES ($1,$2)`, name, tx.NowMicros())
	return err
}

func (s *Service) createClass(ctx context.Context, r *api.Request, in *api.Stream) (api.None, error) {
	doc, err := body(r, in, classSchema())
	if err != nil {
		return api.None{}, err
	}
	name, _ := str(doc, "name")
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		err := insertClass(tx, name)
		if db.IsConflict(err, "") {
			return conflict("", "Conflicting resource class already exists: %s", name)
		}
		return err
	})
	if err == nil {
		location(r, "resource_classes", name)
	}
	return api.None{}, err
}

// renameClass is PUT before 1.7.
func (s *Service) renameClass(ctx context.Context, r *api.Request, in *api.Stream) (classView, error) {
	doc, err := body(r, in, classSchema())
	if err != nil {
		return classView{}, err
	}
	name, old := "", r.Path("name")
	name, _ = str(doc, "name")
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if err := loadClass(tx, old); err != nil {
			return err
		}
		if isStandardClass[old] {
			return badRequest("Cannot update standard resource class %s", old)
		}
		_, err := tx.Exec(`UPDATE placement_resource_classes SET name = $2 WHERE name = $1`, old, name)
		if db.IsConflict(err, "") {
			return conflict("", "Resource class already exists: %s", name)
		}
		if err != nil {
			return err
		}
		return renameUses(tx, old, name)
	})
	return viewClass(name), err
}

// renameUses moves the inventories and allocations of a class to its new name: a new inventory, the allocations to it, the old one away.
func renameUses(tx *db.Tx, old, name string) error {
	if old == name {
		return nil
	}
	for _, q := range []string{
		`INSERT INTO placement_inventories (provider_uuid, resource_class, total, reserved, min_unit, max_unit, step_size, allocation_ratio, used, created_at, updated_at)
			SELECT provider_uuid, $2, total, reserved, min_unit, max_unit, step_size, allocation_ratio, used, created_at, updated_at
			FROM placement_inventories WHERE resource_class = $1`,
		`UPDATE placement_allocations SET resource_class = $2 WHERE resource_class = $1`,
	} {
		if _, err := tx.Exec(q, old, name); err != nil {
			return err
		}
	}
	_, err := tx.Exec(`DELETE FROM placement_inventories WHERE resource_class = $1`, old)
	return err
}

// putClass is PUT since 1.7: the class shall be there.
func (s *Service) putClass(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	name := r.Path("name")
	if e := schema.Placement.Validate(classSchema(), schema.NewDict("name", name)); e != nil {
		return api.None{}, badRequest("%s", e.PlacementMessage())
	}
	created, err := false, error(nil)
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		missing, err := unknownClasses(tx, []string{name})
		if created = len(missing) > 0; err != nil || !created {
			return err
		}
		n, err := tx.Exec(`INSERT INTO placement_resource_classes (name, created_at) VALUES ($1,$2) ON CONFLICT (name) DO NOTHING`, name, tx.NowMicros())
		created = n > 0
		return err
	})
	if err != nil {
		return api.None{}, err
	}
	if created {
		r.SetStatus(http.StatusCreated)
	}
	location(r, "resource_classes", name)
	return api.None{}, nil
}

func (s *Service) deleteClass(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	name := r.Path("name")
	return api.None{}, s.db.Write(ctx, func(tx *db.Tx) error {
		if err := loadClass(tx, name); err != nil {
			return err
		}
		if isStandardClass[name] {
			return badRequest("Error in delete resource class: Cannot delete standard resource class %s.", name)
		}
		n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM placement_inventories WHERE resource_class = $1`, name)
		if err != nil {
			return err
		}
		if n > 0 {
			return conflict("", "Error in delete resource class: Cannot delete resource class %s. Class is in use in inventory.", name)
		}
		_, err = tx.Exec(`DELETE FROM placement_resource_classes WHERE name = $1`, name)
		return err
	})
}

func (s *Service) listTraits(ctx context.Context, r *api.Request, _ api.None) (map[string][]string, error) {
	if err := jsonOnly(r); err != nil {
		return nil, err
	}
	args, err := queryArgs(r, listTraitsSchema())
	if err != nil {
		return nil, err
	}
	keep := func(string) bool { return true }
	if v, ok := args["name"]; ok {
		op, value, found := strings.Cut(v, ":")
		switch {
		case !found:
			return nil, badRequest("Badly formatted name parameter. Expected name query string parameter in form: ?name=[in|startswith]:[name1,name2|prefix]. Got: \"%s\"", v)
		case op == "in":
			wanted := set(strings.Split(value, ","))
			keep = func(t string) bool { return wanted[t] }
		case op == "startswith":
			keep = func(t string) bool { return strings.HasPrefix(t, value) }
		}
	}
	associated, given := args["associated"]
	if associated = strings.ToLower(associated); given && associated != "true" && associated != "false" {
		return nil, badRequest(`The query parameter "associated" only accepts "true" or "false"`)
	}
	out := []string{}
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		custom, err := db.All(tx, db.Value[string], `SELECT name FROM placement_traits ORDER BY name`)
		if err != nil {
			return err
		}
		used := map[string]bool{}
		if given {
			names, err := db.All(tx, db.Value[string], `SELECT DISTINCT trait FROM placement_provider_traits`)
			if err != nil {
				return err
			}
			used = set(names)
		}
		out = out[:0]
		for _, t := range slices.Concat(standardTraits, custom) {
			if keep(t) && (!given || used[t] == (associated == "true")) {
				out = append(out, t)
			}
		}
		return nil
	})
	s.stampNow(r)
	return map[string][]string{"traits": out}, err
}

// loadTrait is upstream's TraitNotFound.
func loadTrait(tx *db.Tx, name string) error {
	missing, err := unknownTraits(tx, []string{name})
	if err == nil && len(missing) > 0 {
		err = notFound("No such trait(s): %s.", name)
	}
	return err
}

func (s *Service) showTrait(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	s.stampNow(r)
	return api.None{}, s.db.Read(ctx, func(tx *db.Tx) error { return loadTrait(tx, r.Path("name")) })
}

func (s *Service) putTrait(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	name := r.Path("name")
	if e := schema.Placement.Validate(traitName().Pattern(customName), name); e != nil {
		return api.None{}, badRequest(`The trait is invalid. A valid trait must be no longer than 255 characters, start with the prefix "CUSTOM_" and use following characters: "A"-"Z", "0"-"9" and "_"`)
	}
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(`INSERT INTO placement_traits (name, created_at) VALUES ($1,$2) ON CONFLICT (name) DO NOTHING`, name, tx.NowMicros())
		if n > 0 {
			r.SetStatus(http.StatusCreated)
		}
		return err
	})
	if err == nil {
		location(r, "traits", name)
		s.stampNow(r)
	}
	return api.None{}, err
}

func (s *Service) deleteTrait(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	name := r.Path("name")
	return api.None{}, s.db.Write(ctx, func(tx *db.Tx) error {
		if err := loadTrait(tx, name); err != nil {
			return err
		}
		if isStandardTrait[name] {
			return badRequest("Cannot delete standard trait %s.", name)
		}
		n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM placement_provider_traits WHERE trait = $1`, name)
		if err != nil {
			return err
		}
		if n > 0 {
			return conflict("", "The trait %s is in use by a resource provider.", name)
		}
		_, err = tx.Exec(`DELETE FROM placement_traits WHERE name = $1`, name)
		return err
	})
}

type providerTraitsView struct {
	Traits     []string `json:"traits"`
	Generation int64    `json:"resource_provider_generation"`
}

func (s *Service) listProviderTraits(ctx context.Context, r *api.Request, _ api.None) (providerTraitsView, error) {
	var out providerTraitsView
	if err := jsonOnly(r); err != nil {
		return out, err
	}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		p, err := load(tx, r.Path("uuid"))
		if err != nil {
			return noProvider(r, err, "No resource provider with uuid %s found: %s")
		}
		traits, err := providerTraits(tx, p.UUID)
		out = providerTraitsView{append([]string{}, traits...), p.Generation}
		return err
	})
	s.stampNow(r)
	return out, err
}

func (s *Service) setProviderTraits(ctx context.Context, r *api.Request, in *api.Stream) (providerTraitsView, error) {
	var out providerTraitsView
	doc, err := body(r, in, providerTraitsSchema())
	if err != nil {
		return out, err
	}
	list, _ := doc.(*schema.Dict).Get("traits")
	want := slices.Sorted(slices.Values(strs(list)))
	want = slices.Compact(want)
	generation, _ := num(doc, "resource_provider_generation")
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		p, err := loadLocked(tx, r.Path("uuid"))
		if err != nil {
			return err
		}
		if p.Generation != generation {
			return conflict(codeConcurrentUpdate, "Resource provider's generation already changed. Please update the generation and try again.")
		}
		missing, err := unknownTraits(tx, want)
		if err != nil {
			return err
		}
		if len(missing) > 0 {
			return badRequest("No such trait %s", join(missing))
		}
		changed, err := replaceTraits(tx, p.UUID, want)
		if err != nil {
			return err
		}
		out = providerTraitsView{append([]string{}, want...), p.Generation}
		if changed {
			out.Generation++
			return bump(tx, p.UUID)
		}
		return nil
	})
	s.stampNow(r)
	return out, err
}

func replaceTraits(tx *db.Tx, provider string, want []string) (changed bool, err error) {
	have, err := providerTraits(tx, provider)
	if err != nil || slices.Equal(have, want) {
		return false, err
	}
	for _, t := range have {
		if !slices.Contains(want, t) {
			err = errors.Join(err, removeTrait(tx, provider, t))
		}
	}
	for _, t := range want {
		if err == nil {
			err = addTrait(tx, provider, t)
		}
	}
	return true, err
}

func (s *Service) deleteProviderTraits(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.db.Write(ctx, func(tx *db.Tx) error {
		p, err := loadLocked(tx, r.Path("uuid"))
		if err != nil {
			return err
		}
		changed, err := replaceTraits(tx, p.UUID, nil)
		if err != nil || !changed {
			return err
		}
		return bump(tx, p.UUID)
	})
}
