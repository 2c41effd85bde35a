// Package placement keeps who has what and who holds how much of it: resource providers with inventories, traits and
// aggregates, and the allocations of consumers. It serves the placement API, and the scheduler reads and writes the same tables
// through the functions that take a transaction: Candidates, Allocate, Deallocate. It must not know what a server, a host's
// hypervisor or a volume is: to it they are consumers and providers.
package placement

import (
	"errors"
	"fmt"
	"math"
)

// maxInt is the largest amount that inventories hold (placement/db/constants.py, MAX_INT), and the default of max_unit.
const maxInt = math.MaxInt32

// Inventory is how much of a resource class a provider has. For EnsureProvider a zero MinUnit and StepSize mean 1, a zero
// MaxUnit means Total, a zero AllocationRatio means 1.
type Inventory struct {
	Total, Reserved            int64
	MinUnit, MaxUnit, StepSize int64
	AllocationRatio            float64
}

// Capacity is what may be allocated in all, before rounding.
func (i Inventory) Capacity() float64 { return float64(i.Total-i.Reserved) * i.AllocationRatio }

// whole is the capacity as the API shows it, cut to an integer.
func (i Inventory) whole() int64 {
	const most = 1 << 62
	return int64(max(-most, min(most, i.Capacity())))
}

func (i Inventory) withDefaults() Inventory {
	if i.MinUnit == 0 {
		i.MinUnit = 1
	}
	if i.MaxUnit == 0 {
		i.MaxUnit = max(i.Total, 1)
	}
	if i.StepSize == 0 {
		i.StepSize = 1
	}
	if i.AllocationRatio == 0 {
		i.AllocationRatio = 1
	}
	return i
}

// Stock is an inventory and how much of it is allocated.
type Stock struct {
	Inventory
	Used int64
}

// Free is what is left to allocate; negative when the inventory has shrunk below what is allocated.
func (s Stock) Free() int64 { return s.whole() - s.Used }

// takes tells whether the provider's limits let one allocation be of this amount, whatever is free.
func (s Stock) takes(amount int64) bool {
	return amount >= s.MinUnit && amount <= s.MaxUnit && amount%s.StepSize == 0
}

// fits tells whether the amount is free and within the limits.
func (s Stock) fits(amount int64) bool {
	return s.takes(amount) && float64(s.Used+amount) <= s.Capacity()
}

// ErrNoCapacity: an allocation is more than what is free, or the provider does not have that class at all. Errors of Allocate
// for that reason are a *CapacityError and match it with errors.Is.
var ErrNoCapacity = errors.New("not enough capacity")

// CapacityError says which allocation was refused and why.
type CapacityError struct {
	Reason        Reason
	ResourceClass string
	ProviderUUID  string
	Wanted, Free  int64
}

// Reason is why an amount cannot be allocated.
type Reason int

// Reasons.
const (
	NoInventory Reason = iota // the provider has no inventory of the class
	OutOfLimits               // min_unit, max_unit or step_size
	Exceeded                  // more than what is free
)

// Error is upstream's text (placement/exception.py).
func (e *CapacityError) Error() string {
	switch e.Reason {
	case OutOfLimits:
		return fmt.Sprintf("Unable to create allocation for '%s' on resource provider '%s'. The requested amount would violate inventory constraints.", e.ResourceClass, e.ProviderUUID)
	case Exceeded:
		return fmt.Sprintf("Unable to create allocation for '%s' on resource provider '%s'. The requested amount would exceed the capacity.", e.ResourceClass, e.ProviderUUID)
	}
	return fmt.Sprintf("Inventory for '%s' on resource provider '%s' invalid.", e.ResourceClass, e.ProviderUUID)
}

// Is makes every CapacityError an ErrNoCapacity.
func (e *CapacityError) Is(target error) bool { return target == ErrNoCapacity }

// errProviderChanged: the provider's generation is not the one that the change was based on.
var errProviderChanged = errors.New("Another thread concurrently updated the resource provider data. Please retry your update") //nolint:revive // upstream's text
