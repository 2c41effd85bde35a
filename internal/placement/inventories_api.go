package placement

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/api/webob"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// ratio prints as Python's float does: 1.0, not 1.
type ratio float64

func (f ratio) MarshalJSON() ([]byte, error) {
	s := strconv.FormatFloat(float64(f), 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return []byte(s), nil
}

type inventoryView struct {
	Total      int64  `json:"total"`
	Reserved   int64  `json:"reserved"`
	MinUnit    int64  `json:"min_unit"`
	MaxUnit    int64  `json:"max_unit"`
	StepSize   int64  `json:"step_size"`
	Ratio      ratio  `json:"allocation_ratio"`
	Generation *int64 `json:"resource_provider_generation,omitempty"`
}

func viewInventory(i Inventory) inventoryView {
	return inventoryView{Total: i.Total, Reserved: i.Reserved, MinUnit: i.MinUnit, MaxUnit: i.MaxUnit, StepSize: i.StepSize, Ratio: ratio(i.AllocationRatio)}
}

type inventoriesView struct {
	Generation  int64                    `json:"resource_provider_generation"`
	Inventories map[string]inventoryView `json:"inventories"`
}

// readInventory reads an inventory of a validated body.
func readInventory(v any) Inventory {
	i := Inventory{MinUnit: 1, MaxUnit: maxInt, StepSize: 1, AllocationRatio: 1}
	for name, to := range map[string]*int64{"total": &i.Total, "reserved": &i.Reserved, "min_unit": &i.MinUnit, "max_unit": &i.MaxUnit, "step_size": &i.StepSize} {
		if n, ok := num(v, name); ok {
			*to = n
		}
	}
	if r, ok := v.(*schema.Dict).Get("allocation_ratio"); ok {
		i.AllocationRatio, _ = r.(json.Number).Float64()
	}
	return i
}

// checkCapacity: from 1.26 on all may be reserved.
func checkCapacity(r *api.Request, class, provider string, i Inventory) string {
	c := i.whole()
	switch {
	case r.Since("1.26") && c < 0:
		return "Invalid inventory for '" + class + "' on resource provider '" + provider + "'. The reserved value is greater than total."
	case !r.Since("1.26") && c <= 0:
		return "Invalid inventory for '" + class + "' on resource provider '" + provider + "'. The reserved value is greater than or equal to total."
	}
	return ""
}

func (s *Service) listInventories(ctx context.Context, r *api.Request, _ api.None) (inventoriesView, error) {
	if err := jsonOnly(r); err != nil {
		return inventoriesView{}, err
	}
	return s.readInventories(ctx, r)
}

func (s *Service) readInventories(ctx context.Context, r *api.Request) (inventoriesView, error) {
	var out inventoriesView
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		p, err := load(tx, r.Path("uuid"))
		if err != nil {
			return noProvider(r, err, "No resource provider with uuid %s found : %s")
		}
		stocks, err := Stocks(tx, p.UUID)
		out = inventoriesView{p.Generation, map[string]inventoryView{}}
		for class, st := range stocks[p.UUID] {
			out.Inventories[class] = viewInventory(st.Inventory)
		}
		stamp(r, p.UpdatedAt)
		return err
	})
	return out, err
}

func (s *Service) showInventory(ctx context.Context, r *api.Request, _ api.None) (inventoryView, error) {
	if err := jsonOnly(r); err != nil {
		return inventoryView{}, err
	}
	all, err := s.readInventories(ctx, r)
	if err != nil {
		return inventoryView{}, err
	}
	class := r.Path("resource_class")
	v, ok := all.Inventories[class]
	if !ok {
		return v, notFound("No inventory of class %s for %s", class, r.Path("uuid"))
	}
	v.Generation = generationShown(all.Generation)
	return v, nil
}

// generationShown: upstream leaves out a generation of 0 (placement/handlers/inventory.py, _serialize_inventory).
func generationShown(g int64) *int64 {
	if g == 0 {
		return nil
	}
	return &g
}

func (s *Service) createInventory(ctx context.Context, r *api.Request, in *api.Stream) (inventoryView, error) {
	var out inventoryView
	doc, err := body(r, in, postInventorySchema())
	if err != nil {
		return out, err
	}
	class, _ := str(doc, "resource_class")
	inv := readInventory(doc)
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		p, err := loadLocked(tx, r.Path("uuid"))
		if err != nil {
			return err
		}
		unable := func(why string) error {
			return badRequest("Unable to create inventory for resource provider %s: %s", p.UUID, why)
		}
		if why := checkCapacity(r, class, p.UUID, inv); why != "" {
			return unable(why)
		}
		missing, err := unknownClasses(tx, []string{class})
		if err != nil {
			return err
		}
		if len(missing) > 0 {
			return unable("No such resource class " + class + ".")
		}
		if err := insertInventory(tx, p.UUID, class, inv); err != nil {
			if db.IsConflict(err, "") {
				return conflict(codeConcurrentUpdate, "Update conflict: inventory of class %s is there already", class)
			}
			return err
		}
		if err := bump(tx, p.UUID); err != nil {
			return err
		}
		out = viewInventory(inv)
		out.Generation = generationShown(p.Generation + 1)
		return nil
	})
	if err == nil {
		location(r, "resource_providers", r.Path("uuid"), "inventories", class)
		s.stampNow(r)
	}
	return out, err
}

// loadLocked is load with the row held until the transaction ends.
func loadLocked(tx *db.Tx, id string) (provider, error) {
	p, err := lockProvider(tx, id)
	if errors.Is(err, db.ErrNotFound) {
		return p, notFound("No resource provider with uuid %s found", id)
	}
	return p, err
}

func (s *Service) updateInventory(ctx context.Context, r *api.Request, in *api.Stream) (inventoryView, error) {
	var out inventoryView
	doc, err := body(r, in, inventorySchema())
	if err != nil {
		return out, err
	}
	class := r.Path("resource_class")
	inv := readInventory(doc)
	generation, _ := num(doc, "resource_provider_generation")
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		p, err := loadLocked(tx, r.Path("uuid"))
		if err != nil {
			return err
		}
		if p.Generation != generation {
			return conflict(codeConcurrentUpdate, "resource provider generation conflict")
		}
		if why := checkCapacity(r, class, p.UUID, inv); why != "" {
			return badRequest("Unable to update inventory for resource provider %s: %s", p.UUID, why)
		}
		missing, err := unknownClasses(tx, []string{class})
		if err != nil {
			return err
		}
		if len(missing) > 0 {
			return notFound("No such resource class %s.", class)
		}
		found, err := updateInventory(tx, p.UUID, class, inv)
		if err != nil {
			return err
		}
		if !found {
			return badRequest("No inventory record with resource class for resource provider %s: No inventory of class %s found.", p.UUID, class)
		}
		out = viewInventory(inv)
		out.Generation = generationShown(p.Generation + 1)
		return bump(tx, p.UUID)
	})
	if err == nil {
		s.stampNow(r)
	}
	return out, err
}

func (s *Service) setInventories(ctx context.Context, r *api.Request, in *api.Stream) (inventoriesView, error) {
	var out inventoriesView
	doc, err := body(r, in, putInventoriesSchema())
	if err != nil {
		return out, err
	}
	want := readInventories(dict(doc, "inventories"))
	generation, _ := num(doc, "resource_provider_generation")
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		p, err := loadLocked(tx, r.Path("uuid"))
		if err != nil {
			return err
		}
		if p.Generation != generation {
			return conflict(codeConcurrentUpdate, "resource provider generation conflict")
		}
		for _, class := range sorted(want) {
			if why := checkCapacity(r, class, p.UUID, want[class]); why != "" {
				return badRequest("Unable to update inventory for resource provider %s: %s", p.UUID, why)
			}
		}
		var missing errNoClass
		var inUse errInventoryInUse
		switch err := replaceInventories(tx, p.UUID, want); {
		case errors.As(err, &missing):
			return badRequest("Unknown resource class in inventory for resource provider %s: %s", p.UUID, err)
		case errors.As(err, &inUse):
			return conflict(codeInventoryInUse, "update conflict: %s", err)
		case err != nil:
			return err
		}
		out = inventoriesView{p.Generation + 1, map[string]inventoryView{}}
		for class, i := range want {
			out.Inventories[class] = viewInventory(i)
		}
		return bump(tx, p.UUID)
	})
	if err == nil {
		s.stampNow(r)
	}
	return out, err
}

func readInventories(d *schema.Dict) map[string]Inventory {
	out := map[string]Inventory{}
	for _, class := range d.Names() {
		v, _ := d.Get(class)
		sub, ok := v.(*schema.Dict)
		if !ok {
			sub = schema.NewDict() // the schema looks only at names that can be classes
		}
		out[class] = readInventory(sub)
	}
	return out
}

// errNoClass and errInventoryInUse are why inventories cannot be as asked.
type errNoClass string

func (e errNoClass) Error() string { return "No such resource class " + string(e) + "." }

type errInventoryInUse struct{ classes, provider string }

func (e errInventoryInUse) Error() string {
	return "Inventory for '" + e.classes + "' on resource provider '" + e.provider + "' in use."
}

// replaceInventories makes a provider have exactly these inventories.
func replaceInventories(tx *db.Tx, provider string, want map[string]Inventory) error {
	missing, err := unknownClasses(tx, sorted(want))
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return errNoClass(missing[0])
	}
	stocks, err := Stocks(tx, provider)
	if err != nil {
		return err
	}
	var inUse []string
	for _, class := range sorted(stocks[provider]) {
		if _, ok := want[class]; ok {
			continue
		}
		gone, err := deleteInventory(tx, provider, class)
		if err != nil {
			return err
		}
		if !gone {
			inUse = append(inUse, class)
		}
	}
	if len(inUse) > 0 {
		return errInventoryInUse{join(inUse), provider}
	}
	for _, class := range sorted(want) {
		found, err := updateInventory(tx, provider, class, want[class])
		if err == nil && !found {
			err = insertInventory(tx, provider, class, want[class])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) deleteInventories(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	if !r.Since("1.5") {
		return api.None{}, webob.Plain(http.StatusMethodNotAllowed)
	}
	return api.None{}, s.db.Write(ctx, func(tx *db.Tx) error {
		p, err := loadLocked(tx, r.Path("uuid"))
		if err != nil {
			return err
		}
		var inUse errInventoryInUse
		switch err := replaceInventories(tx, p.UUID, nil); {
		case errors.As(err, &inUse):
			return conflict(codeInventoryInUse, "%s", err)
		case err != nil:
			return err
		}
		return bump(tx, p.UUID)
	})
}

func (s *Service) deleteInventory(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.db.Write(ctx, func(tx *db.Tx) error {
		p, err := loadLocked(tx, r.Path("uuid"))
		if err != nil {
			return err
		}
		class := r.Path("resource_class")
		none := func(why string) error { return notFound("No inventory of class %s found for delete: %s", class, why) }
		missing, err := unknownClasses(tx, []string{class})
		if err != nil {
			return err
		}
		if slices.Contains(missing, class) {
			return none("No such resource class " + class + ".")
		}
		gone, err := deleteInventory(tx, p.UUID, class)
		if err != nil {
			return err
		}
		if !gone {
			stocks, err := Stocks(tx, p.UUID)
			if err != nil {
				return err
			}
			if _, ok := stocks[p.UUID][class]; ok {
				return conflict(codeConcurrentUpdate, "Unable to delete inventory of class %s: %s", class, errInventoryInUse{class, p.UUID})
			}
			return none("No inventory of class " + class + " found for delete")
		}
		return bump(tx, p.UUID)
	})
}

// noProvider rewords load's 404 as some handlers do: format takes the uuid and the first wording.
func noProvider(r *api.Request, err error, format string) error {
	if !fault.Is(err, http.StatusNotFound) {
		return err
	}
	return notFound(format, r.Path("uuid"), fault.As(err).Detail)
}
