package placement

import (
	"errors"

	"github.com/hanok-cloud/hanok/internal/db"
)

// errConsumerChanged: the consumer's allocations changed since they were read.
var errConsumerChanged = errors.New("Another thread concurrently updated the data. Please retry your update") //nolint:revive // upstream's text

// Amounts is how much of what from whom: provider uuid → resource class → amount.
type Amounts map[string]map[string]int64

// Allocate makes a consumer hold exactly these amounts, and nothing else. When one does not fit the error matches
// ErrNoCapacity, and the caller's transaction must be given up or its savepoint undone: what was taken before stays taken in it.
func Allocate(tx *db.Tx, consumerUUID, projectID, userID string, perProvider map[string]map[string]int64) error {
	old, err := consumerByUUID(tx, consumerUUID)
	switch {
	case errors.Is(err, db.ErrNotFound):
		err = insertConsumer(tx, consumer{UUID: consumerUUID, ProjectID: projectID, UserID: userID})
		old = consumer{UUID: consumerUUID}
	case err != nil:
		return err
	}
	if err != nil {
		return err
	}
	old.ProjectID, old.UserID = projectID, userID
	return replace(tx, []claim{{consumer: old, amounts: perProvider}})
}

// Deallocate gives back all that a consumer holds; holding nothing is no error.
func Deallocate(tx *db.Tx, consumerUUID string) error {
	if _, err := release(tx, consumerUUID); err != nil {
		return err
	}
	return deleteConsumer(tx, consumerUUID)
}

// claim is what a consumer, whose row is there already, shall hold.
type claim struct {
	consumer consumer // as it shall be, with the generation that the row has now
	amounts  Amounts
}

// replace makes all consumers hold what they claim. Everything is given back first, so that two may swap
// (placement/objects/allocation.py, _set_allocations). Providers and consumers get a new generation.
func replace(tx *db.Tx, claims []claim) error {
	touched := map[string]bool{}
	for _, c := range claims {
		held, err := release(tx, c.consumer.UUID)
		if err != nil {
			return err
		}
		if len(c.amounts) == 0 {
			for _, a := range held {
				touched[a.Provider] = true
			}
		}
	}
	for _, c := range claims {
		for _, provider := range sorted(c.amounts) {
			touched[provider] = true
			for _, class := range sorted(c.amounts[provider]) {
				amount := c.amounts[provider][class]
				if err := take(tx, provider, class, amount); err != nil {
					return err
				}
				if err := insertAllocation(tx, allocation{Consumer: c.consumer.UUID, Provider: provider, Class: class, Used: amount}); err != nil {
					return err
				}
			}
		}
	}
	for _, provider := range sorted(touched) {
		if err := bump(tx, provider); err != nil {
			return err
		}
	}
	for _, c := range claims {
		if len(c.amounts) == 0 {
			if err := deleteConsumer(tx, c.consumer.UUID); err != nil {
				return err
			}
			continue
		}
		c.consumer.Generation++
		ok, err := updateConsumer(tx, c.consumer)
		if err != nil {
			return err
		}
		if !ok {
			return errConsumerChanged
		}
	}
	return nil
}
