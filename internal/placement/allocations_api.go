package placement

import (
	"context"
	"errors"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/db"
)

type allocationView struct {
	Generation *int64           `json:"generation,omitempty"`
	Resources  map[string]int64 `json:"resources"`
}

type consumerView struct {
	Allocations map[string]*allocationView `json:"allocations"`
	ProjectID   string                     `json:"project_id,omitempty" mv:"1.12-"`
	UserID      string                     `json:"user_id,omitempty" mv:"1.12-"`
	Generation  *int64                     `json:"consumer_generation,omitempty" mv:"1.28-"`
	Type        string                     `json:"consumer_type,omitempty" mv:"1.38-"`
}

func (s *Service) listConsumer(ctx context.Context, r *api.Request, _ api.None) (consumerView, error) {
	out := consumerView{}
	if err := jsonOnly(r); err != nil {
		return out, err
	}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		out = consumerView{Allocations: map[string]*allocationView{}}
		id := r.Path("consumer_uuid")
		held, err := allocationsOf(tx, id)
		if err != nil || len(held) == 0 {
			return err
		}
		c, err := consumerByUUID(tx, id)
		if err != nil {
			return err
		}
		out.ProjectID, out.UserID, out.Generation, out.Type = c.ProjectID, c.UserID, &c.Generation, c.Type
		if out.Type == "" {
			out.Type = unknownType
		}
		for _, a := range held {
			if out.Allocations[a.Provider] == nil {
				p, err := providerByUUID(tx, a.Provider)
				if err != nil {
					return err
				}
				out.Allocations[a.Provider] = &allocationView{Generation: &p.Generation, Resources: map[string]int64{}}
			}
			out.Allocations[a.Provider].Resources[a.Class] = a.Used
		}
		return nil
	})
	s.stampNow(r)
	return out, err
}

type holderView struct {
	Resources  map[string]int64 `json:"resources"`
	Generation int64            `json:"consumer_generation" mv:"1.28-"`
}

type providerAllocationsView struct {
	Allocations map[string]*holderView `json:"allocations"`
	Generation  int64                  `json:"resource_provider_generation"`
}

func (s *Service) listProviderAllocations(ctx context.Context, r *api.Request, _ api.None) (providerAllocationsView, error) {
	var out providerAllocationsView
	if err := jsonOnly(r); err != nil {
		return out, err
	}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		p, err := load(tx, r.Path("uuid"))
		if err != nil {
			return noProvider(r, err, "Resource provider '%s' not found: %s")
		}
		out = providerAllocationsView{map[string]*holderView{}, p.Generation}
		return tx.Each(func(row db.Row) error {
			var id, class string
			var used, generation int64
			if err := row.Scan(&id, &class, &used, &generation); err != nil {
				return err
			}
			if out.Allocations[id] == nil {
				out.Allocations[id] = &holderView{map[string]int64{}, generation}
			}
			out.Allocations[id].Resources[class] = used
			return nil
		}, `SELECT a.consumer_uuid, a.resource_class, a.used, c.generation FROM placement_allocations a
			JOIN placement_consumers c ON c.uuid = a.consumer_uuid WHERE a.provider_uuid = $1`, p.UUID)
	})
	s.stampNow(r)
	return out, err
}

// incompleteID stands for project and user where a client before 1.8 gives none.
const incompleteID = "00000000-0000-0000-0000-000000000000"

// wish is what a client wants a consumer to hold.
type wish struct {
	consumer          string
	project, user     string
	kind              string // type of consumer, since 1.38
	generation        *int64 // nil: the consumer must not be there yet
	checked, hasOwner bool
	amounts           Amounts
}

func readWish(r *api.Request, consumer string, doc any) wish {
	w := wish{consumer: consumer, amounts: Amounts{}, checked: r.Since("1.28"), project: incompleteID, user: incompleteID}
	if p, ok := str(doc, "project_id"); ok {
		w.project, w.hasOwner = p, true
		w.user, _ = str(doc, "user_id")
	}
	w.kind, _ = str(doc, "consumer_type")
	if g, ok := num(doc, "consumer_generation"); ok {
		w.generation = &g
	}
	list, _ := doc.(*schema.Dict).Get("allocations")
	switch l := list.(type) {
	case []any: // before 1.12
		for _, e := range l {
			id, _ := str(dict(e, "resource_provider"), "uuid")
			w.add(id, dict(e, "resources"))
		}
	case *schema.Dict:
		for _, id := range l.Names() {
			e, _ := l.Get(id)
			w.add(id, dict(e, "resources"))
		}
	}
	return w
}

func (w *wish) add(provider string, resources *schema.Dict) {
	if id, ok := normalUUID(provider); ok {
		provider = id
	}
	if w.amounts[provider] == nil {
		w.amounts[provider] = map[string]int64{}
	}
	for _, class := range resources.Names() {
		n, _ := num(resources, class)
		w.amounts[provider][class] = n
	}
}

// claim finds or makes the consumer and checks the generation that the client based its wish on.
func (w wish) claim(tx *db.Tx) (claim, error) {
	c, err := consumerByUUID(tx, w.consumer)
	switch {
	case errors.Is(err, db.ErrNotFound):
		if w.checked && w.generation != nil {
			return claim{}, conflict(codeConcurrentUpdate, "consumer generation conflict - expected null but got %d", *w.generation)
		}
		c = consumer{UUID: w.consumer, ProjectID: w.project, UserID: w.user, Type: w.kind}
		if err := insertConsumer(tx, c); err != nil {
			if db.IsConflict(err, "") {
				return claim{}, errConsumerChanged
			}
			return claim{}, err
		}
	case err != nil:
		return claim{}, err
	case w.checked && (w.generation == nil || *w.generation != c.Generation):
		got := "None"
		if w.generation != nil {
			got = jsonInt(*w.generation)
		}
		return claim{}, conflict(codeConcurrentUpdate, "consumer generation conflict - expected %d but got %s", c.Generation, got)
	}
	c.ProjectID, c.UserID = w.project, w.user
	if w.kind != "" {
		c.Type = w.kind
	}
	return claim{c, w.amounts}, nil
}

// claims turns wishes into claims, in a fixed order, and checks providers and classes.
func claims(tx *db.Tx, wishes []wish) ([]claim, error) {
	out := make([]claim, 0, len(wishes))
	for _, w := range wishes {
		c, err := w.claim(tx)
		if err != nil {
			return nil, err
		}
		for _, provider := range sorted(w.amounts) {
			if _, err := providerByUUID(tx, provider); errors.Is(err, db.ErrNotFound) {
				return nil, badRequest("Allocation for resource provider '%s' that does not exist.", provider)
			} else if err != nil {
				return nil, err
			}
			missing, err := unknownClasses(tx, sorted(w.amounts[provider]))
			if err != nil {
				return nil, err
			}
			if len(missing) > 0 {
				return nil, errNoClass(missing[0])
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// allocationFault words what replace refused. unknown is the handler's own sentence for an unknown class.
func allocationFault(err error, unknown string) error {
	var noClass errNoClass
	switch {
	case errors.As(err, &noClass):
		return badRequest("%s%s", unknown, err)
	case errors.Is(err, ErrNoCapacity):
		return conflict("", "Unable to allocate inventory: %s", err)
	case errors.Is(err, errConsumerChanged), errors.Is(err, errProviderChanged):
		return conflict(codeConcurrentUpdate, "Inventory and/or allocations changed while attempting to allocate: %s", err)
	}
	return err
}

func (s *Service) putAllocations(ctx context.Context, r *api.Request, in *api.Stream) (api.None, error) {
	id, ok := normalUUID(r.Path("consumer_uuid"))
	if !ok {
		return api.None{}, badRequest("Malformed consumer_uuid: %s", r.Path("consumer_uuid"))
	}
	doc, err := body(r, in, allocationSchema(r.Since, false))
	if err != nil {
		return api.None{}, err
	}
	w := readWish(r, id, doc)
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		c, err := claims(tx, []wish{w})
		if err != nil {
			return err
		}
		return replace(tx, c)
	})
	return api.None{}, allocationFault(err, "Unable to allocate inventory for consumer "+id+": ")
}

func (s *Service) postAllocations(ctx context.Context, r *api.Request, in *api.Stream) (api.None, error) {
	doc, err := body(r, in, allocationsSchema(r.Since, 1))
	if err != nil {
		return api.None{}, err
	}
	wishes := readWishes(r, doc.(*schema.Dict))
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		c, err := claims(tx, wishes)
		if err != nil {
			return err
		}
		return replace(tx, c)
	})
	return api.None{}, allocationFault(err, "Unable to allocate inventory ")
}

func readWishes(r *api.Request, d *schema.Dict) []wish {
	byConsumer := map[string]wish{}
	for _, id := range d.Names() {
		e, _ := d.Get(id)
		byConsumer[id] = readWish(r, id, e)
	}
	out := make([]wish, 0, len(byConsumer))
	for _, id := range sorted(byConsumer) {
		out = append(out, byConsumer[id])
	}
	return out
}

func (s *Service) deleteAllocations(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	id := r.Path("consumer_uuid")
	return api.None{}, s.db.Write(ctx, func(tx *db.Tx) error {
		held, err := release(tx, id)
		if err != nil {
			return err
		}
		if len(held) == 0 {
			return notFound("No allocations for consumer '%s'", id)
		}
		return deleteConsumer(tx, id)
	})
}

// reshape changes inventories and allocations at once (placement/objects/reshaper.py): first each provider has its old and its new
// inventories, then the allocations move, then the inventories that are not wanted go.
func (s *Service) reshape(ctx context.Context, r *api.Request, in *api.Stream) (api.None, error) {
	doc, err := body(r, in, reshaperSchema(r.Since))
	if err != nil {
		return api.None{}, err
	}
	wishes := readWishes(r, dict(doc, "allocations"))
	invs := dict(doc, "inventories")
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		want := map[string]map[string]Inventory{}
		for _, id := range invs.Names() {
			p, err := lockProvider(tx, id)
			if errors.Is(err, db.ErrNotFound) {
				e := badRequest("Resource provider %s in inventories not found: No resource provider with uuid %s found", id, id)
				e.Code = codeNoProvider
				return e
			}
			if err != nil {
				return err
			}
			v, _ := invs.Get(id)
			if g, _ := num(v, "resource_provider_generation"); g != p.Generation {
				return conflict(codeConcurrentUpdate, "resource provider generation conflict for provider %s: actual: %d, given: %d", id, p.Generation, g)
			}
			want[id] = readInventories(dict(v, "inventories"))
		}
		for _, id := range sorted(want) {
			if err := addInventories(tx, id, want[id]); err != nil {
				return err
			}
		}
		c, err := claims(tx, wishes)
		if err != nil {
			return err
		}
		if err := replace(tx, c); err != nil {
			return err
		}
		for _, id := range sorted(want) {
			if err := replaceInventories(tx, id, want[id]); err != nil {
				return err
			}
			if err := bump(tx, id); err != nil {
				return err
			}
		}
		return nil
	})
	var inUse errInventoryInUse
	if errors.As(err, &inUse) {
		return api.None{}, conflict(codeInventoryInUse, "update conflict: %s", err)
	}
	return api.None{}, allocationFault(err, "malformed reshaper data: ")
}

// addInventories makes the provider have these inventories besides those it has.
func addInventories(tx *db.Tx, provider string, want map[string]Inventory) error {
	stocks, err := Stocks(tx, provider)
	if err != nil {
		return err
	}
	both := map[string]Inventory{}
	for class, st := range stocks[provider] {
		both[class] = st.Inventory
	}
	for class, i := range want {
		both[class] = i
	}
	return replaceInventories(tx, provider, both)
}
