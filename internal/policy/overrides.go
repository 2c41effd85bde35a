package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// override is one line of policy.yaml.
type override struct {
	name, text string
	check      Check
	line       int
}

// LoadOverrides puts a policy.yaml (or the older JSON) over the defaults, in place of the one before. It is all or nothing: an
// unreadable file, check or reference is refused with its line, and the rules in force stay.
func (e *Enforcer) LoadOverrides(file []byte) error {
	overrides, err := readOverrides(file)
	if err != nil {
		return err
	}
	set, err := e.build(overrides)
	if err != nil {
		return err
	}
	// One load at a time is the caller's business; the count only has to move.
	set.loaded = e.Loaded() + 1
	e.set.Store(set)
	return nil
}

func readOverrides(file []byte) ([]override, error) {
	dec := yaml.NewDecoder(bytes.NewReader(file))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if len(doc.Content) != 1 {
		return nil, nil
	}
	root := doc.Content[0]
	switch {
	case root.Kind == yaml.ScalarNode && root.Tag == "!!null":
		return nil, nil
	case root.Kind != yaml.MappingNode:
		return nil, fmt.Errorf("line %d: it must be a mapping of rule names to checks", root.Line)
	}
	var all []override
	seen := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: a rule's name must be text", k.Line)
		}
		if at := seen[k.Value]; at > 0 {
			return nil, fmt.Errorf("line %d: rule %q stands on line %d already", k.Line, k.Value, at)
		}
		seen[k.Value] = k.Line
		if v.Kind != yaml.ScalarNode || (v.Tag != "!!str" && v.Tag != "!!null") {
			return nil, fmt.Errorf("line %d: the check of rule %q must be text", v.Line, k.Value)
		}
		text := v.Value
		if v.Tag == "!!null" {
			text = ""
		}
		ch, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: rule %q: %w", v.Line, k.Value, err)
		}
		all = append(all, override{k.Value, text, ch, k.Line})
	}
	return all, nil
}
