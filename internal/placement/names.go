package placement

import (
	_ "embed" // the standard names
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
)

//go:embed data/classes.txt
var classesText string

//go:embed data/traits.txt
var traitsText string

// The names that os-resource-classes and os-traits define, in their order.
var (
	standardClasses = strings.Fields(classesText)
	standardTraits  = strings.Fields(traitsText)
	isStandardClass = set(standardClasses)
	isStandardTrait = set(standardTraits)
)

const customPrefix = "CUSTOM_"

func set(names []string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// unknownClasses returns those of names that are no resource class, sorted.
func unknownClasses(tx *db.Tx, names []string) ([]string, error) {
	return unknown(tx, "placement_resource_classes", isStandardClass, names)
}

// unknownTraits returns those of names that are no trait, sorted.
func unknownTraits(tx *db.Tx, names []string) ([]string, error) {
	return unknown(tx, "placement_traits", isStandardTrait, names)
}

func unknown(tx *db.Tx, table string, standard map[string]bool, names []string) ([]string, error) {
	var custom []string
	for _, n := range names {
		if !standard[n] && !slices.Contains(custom, n) {
			custom = append(custom, n)
		}
	}
	if len(custom) == 0 {
		return nil, nil
	}
	var w db.Where
	w.In("name", custom)
	found, err := db.All(tx, db.Value[string], `SELECT name FROM `+table+w.SQL(), w.Args()...)
	if err != nil {
		return nil, err
	}
	missing := slices.DeleteFunc(custom, func(n string) bool { return slices.Contains(found, n) })
	slices.Sort(missing)
	return missing, nil
}
