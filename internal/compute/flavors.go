package compute

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// Flavor is a size of servers. A server keeps a copy of the one it was made with.
type Flavor struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	RAM         int64             `json:"ram"`
	VCPUs       int64             `json:"vcpus"`
	Disk        int64             `json:"disk"`
	Ephemeral   int64             `json:"ephemeral"`
	Swap        int64             `json:"swap"`
	RXTX        float64           `json:"rxtx_factor"`
	Public      bool              `json:"is_public"`
	Disabled    bool              `json:"disabled"`
	Description *string           `json:"description,omitempty"`
	ExtraSpecs  map[string]string `json:"extra_specs,omitempty"`
	num         int64
	updatedAt   int64
}

func flavorNotFound(id string) *fault.Error {
	return fault.NotFound("Flavor %s could not be found.", id)
}

// visibleFlavor finds a flavor that the project may see; an admin sees all.
func visibleFlavor(tx *db.Tx, id, project string, admin bool) (Flavor, error) {
	f, err := flavorByID(tx, id)
	if errors.Is(err, db.ErrNotFound) {
		return f, flavorNotFound(id)
	}
	if err != nil || f.Public || admin {
		return f, err
	}
	ok, err := hasFlavorAccess(tx, id, project)
	if err == nil && !ok {
		err = flavorNotFound(id)
	}
	return f, err
}

// createFlavor stores a new flavor; without an id it draws one.
func createFlavor(tx *db.Tx, f Flavor) (Flavor, error) {
	if f.ID == "" {
		f.ID = uuid.NewString()
	}
	f.Name = strings.TrimSpace(f.Name)
	if f.ExtraSpecs == nil {
		f.ExtraSpecs = map[string]string{}
	}
	// Looked up first, since a violated constraint ends the transaction on PostgreSQL.
	for column, refusal := range map[string]*fault.Error{
		"name": fault.Conflict("Flavor with name %s already exists.", f.Name),
		"id":   fault.Conflict("Flavor with ID %s already exists.", f.ID),
	} {
		value := f.Name
		if column == "id" {
			value = f.ID
		}
		n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM flavors WHERE `+column+` = $1`, value)
		if err != nil {
			return f, err
		}
		if n > 0 {
			return f, refusal
		}
	}
	return f, insertFlavor(tx, f)
}

// flavorFilter is what a list asks for.
type flavorFilter struct {
	Public           *bool  // nil: both
	Project          string // whose private flavors are listed with the public ones
	All              bool   // every private one
	NotDisabled      bool
	MinRAM, MinDisk  int64
	SortKey, SortDir string
	Limit            int
	Marker           string
}

// flavorSortKeys are nova's columns and how a flavor is compared by them.
var flavorSortKeys = map[string]func(a, b Flavor) int{
	"flavorid":     func(a, b Flavor) int { return cmp.Compare(a.ID, b.ID) },
	"name":         func(a, b Flavor) int { return cmp.Compare(a.Name, b.Name) },
	"memory_mb":    func(a, b Flavor) int { return cmp.Compare(a.RAM, b.RAM) },
	"vcpus":        func(a, b Flavor) int { return cmp.Compare(a.VCPUs, b.VCPUs) },
	"root_gb":      func(a, b Flavor) int { return cmp.Compare(a.Disk, b.Disk) },
	"ephemeral_gb": func(a, b Flavor) int { return cmp.Compare(a.Ephemeral, b.Ephemeral) },
	"swap":         func(a, b Flavor) int { return cmp.Compare(a.Swap, b.Swap) },
	"rxtx_factor":  func(a, b Flavor) int { return cmp.Compare(a.RXTX, b.RXTX) },
	"id":           func(a, b Flavor) int { return cmp.Compare(a.num, b.num) },
	"created_at":   func(a, b Flavor) int { return cmp.Compare(a.num, b.num) },
	"updated_at":   func(a, b Flavor) int { return cmp.Compare(a.updatedAt, b.updatedAt) },
	"description":  func(a, b Flavor) int { return cmp.Compare(deref(a.Description), deref(b.Description)) },
	"is_public":    func(a, b Flavor) int { return compareBool(a.Public, b.Public) },
	"disabled":     func(a, b Flavor) int { return compareBool(a.Disabled, b.Disabled) },
	"deleted":      func(a, b Flavor) int { return 0 },
	"deleted_at":   func(a, b Flavor) int { return 0 },
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// listFlavors sorts and pages in memory: a cloud has dozens of flavors.
func listFlavors(tx *db.Tx, f flavorFilter) ([]Flavor, error) {
	all, err := allFlavors(tx)
	if err != nil {
		return nil, err
	}
	mine := map[string]bool{}
	if !f.All && f.Project != "" {
		if mine, err = flavorsOfProject(tx, f.Project); err != nil {
			return nil, err
		}
	}
	all = slices.DeleteFunc(all, func(v Flavor) bool {
		if f.Public != nil && v.Public != *f.Public && !(*f.Public && mine[v.ID]) {
			return true
		}
		return v.RAM < f.MinRAM || v.Disk < f.MinDisk || f.NotDisabled && v.Disabled
	})
	by := flavorSortKeys[f.SortKey]
	slices.SortStableFunc(all, func(a, b Flavor) int {
		c := by(a, b)
		if c == 0 {
			c = cmp.Compare(a.num, b.num)
		}
		if f.SortDir == "desc" {
			c = -c
		}
		return c
	})
	if f.Marker != "" {
		i := slices.IndexFunc(all, func(v Flavor) bool { return v.ID == f.Marker })
		if i < 0 {
			return nil, markerNotFound(f.Marker)
		}
		all = all[i+1:]
	}
	return all[:min(len(all), f.Limit)], nil
}

// setExtraSpecs adds to a flavor's extra specs, or replaces them by key.
func setExtraSpecs(tx *db.Tx, id string, specs map[string]string) error {
	f, err := flavorByID(tx, id)
	if err != nil {
		return err
	}
	maps.Copy(f.ExtraSpecs, specs)
	return saveFlavorSpecs(tx, f)
}
