package placement

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/db"
)

// EnsureProvider makes the root provider of that name have these inventories and traits, and returns its uuid. It may be
// called at any time with the same values; the generation grows only when something changed. What an operator added
// through the API under CUSTOM_ names stays. A class that is not in inv any more while something of it is allocated is kept, but
// all of it reserved, so that nothing new is placed there.
func EnsureProvider(tx *db.Tx, name string, inv map[string]Inventory, traits []string) (string, error) {
	p, err := db.One(tx, scanProvider, `SELECT `+providerColumns+` FROM placement_providers p WHERE p.name = $1`, name)
	if errors.Is(err, db.ErrNotFound) {
		id := uuid.NewString()
		p = provider{UUID: id, Name: name, Root: id}
		err = insertProvider(tx, p)
	}
	if err != nil {
		return "", fmt.Errorf("resource provider %s: %w", name, err)
	}
	changed, err := ensureInventories(tx, p.UUID, inv)
	if err != nil {
		return "", fmt.Errorf("inventories of resource provider %s: %w", name, err)
	}
	c, err := ensureTraits(tx, p.UUID, traits)
	if err != nil {
		return "", fmt.Errorf("traits of resource provider %s: %w", name, err)
	}
	if changed || c {
		err = bump(tx, p.UUID)
	}
	return p.UUID, err
}

func ensureInventories(tx *db.Tx, uuid string, inv map[string]Inventory) (changed bool, err error) {
	stocks, err := Stocks(tx, uuid)
	if err != nil {
		return false, err
	}
	have := stocks[uuid]
	for _, class := range sorted(inv) {
		want := inv[class].withDefaults()
		old, ok := have[class]
		switch {
		case !ok:
			err = insertInventory(tx, uuid, class, want)
		case old.Inventory != want:
			_, err = updateInventory(tx, uuid, class, want)
		default:
			continue
		}
		if err != nil {
			return false, err
		}
		changed = true
	}
	for _, class := range sorted(have) {
		if _, ok := inv[class]; ok || strings.HasPrefix(class, customPrefix) {
			continue
		}
		gone, err := deleteInventory(tx, uuid, class)
		if err != nil {
			return false, err
		}
		if old := have[class].Inventory; !gone && old.Reserved != old.Total {
			old.Reserved = old.Total
			if _, err := updateInventory(tx, uuid, class, old); err != nil {
				return false, err
			}
			gone = true
		}
		changed = changed || gone
	}
	return changed, nil
}

func ensureTraits(tx *db.Tx, uuid string, traits []string) (changed bool, err error) {
	have, err := providerTraits(tx, uuid)
	if err != nil {
		return false, err
	}
	missing, err := unknownTraits(tx, traits)
	if err != nil {
		return false, err
	}
	for _, t := range missing {
		if !strings.HasPrefix(t, customPrefix) {
			return false, fmt.Errorf("%s is no standard trait; others start with %s", t, customPrefix)
		}
		if err := insertTrait(tx, t); err != nil {
			return false, err
		}
	}
	for _, t := range traits {
		if !slices.Contains(have, t) {
			changed = true
			if err := addTrait(tx, uuid, t); err != nil {
				return false, err
			}
		}
	}
	for _, t := range have {
		if !slices.Contains(traits, t) && !strings.HasPrefix(t, customPrefix) && !kept[t] {
			changed = true
			if err := removeTrait(tx, uuid, t); err != nil {
				return false, err
			}
		}
	}
	return changed, nil
}

// kept are standard traits that say what an operator decided, not what the node is like: EnsureProvider leaves them to SetTrait.
var kept = map[string]bool{TraitDisabled: true}

// TraitDisabled marks a provider whose compute service is disabled.
const TraitDisabled = "COMPUTE_STATUS_DISABLED"

// SetTrait gives a provider a trait or takes it away.
func SetTrait(tx *db.Tx, providerUUID, trait string, on bool) error {
	have, err := providerTraits(tx, providerUUID)
	if err != nil || slices.Contains(have, trait) == on {
		return err
	}
	if on {
		err = addTrait(tx, providerUUID, trait)
	} else {
		err = removeTrait(tx, providerUUID, trait)
	}
	if err != nil {
		return err
	}
	return bump(tx, providerUUID)
}

// ErrInUse: a provider cannot go while something of it is allocated.
var ErrInUse = errors.New("Resource provider has allocations.") //nolint:revive // upstream's text

// RemoveProvider deletes a provider with its inventories, traits and aggregates; one that is not there is gone already.
func RemoveProvider(tx *db.Tx, providerUUID string) error {
	n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM placement_allocations WHERE provider_uuid = $1`, providerUUID)
	if err != nil {
		return err
	}
	if n > 0 {
		return ErrInUse
	}
	for _, table := range []string{"placement_inventories", "placement_provider_traits", "placement_provider_aggregates"} {
		if _, err := tx.Exec(`DELETE FROM `+table+` WHERE provider_uuid = $1`, providerUUID); err != nil {
			return err
		}
	}
	_, err = tx.Exec(`DELETE FROM placement_providers WHERE uuid = $1`, providerUUID)
	return err
}

func insertTrait(tx *db.Tx, name string) error {
	_, err := tx.Exec(`INSERT INTO placement_traits (name, created_at) VALUES ($1,$2) ON CONFLICT (name) DO NOTHING`, name, tx.NowMicros())
	return err
}
