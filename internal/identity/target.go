package identity

import (
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// target is what a rule is asked about: upstream flattens {"target": {"user": {…}}} and the path's parameters
// (keystone/common/rbac_enforcer/enforcer.py). An attribute that is not there refuses; one that is null compares with None.
type target struct {
	r       *api.Request
	objects doc
}

// Attr finds an attribute by upstream's flat name.
func (t target) Attr(name string) (any, bool) {
	rest, ok := strings.CutPrefix(name, "target.")
	if !ok {
		v := t.r.Path(name)
		return v, v != ""
	}
	var v any = map[string]any(t.objects)
	for part := range strings.SplitSeq(rest, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[part]; !ok {
			return nil, false
		}
	}
	return v, true
}

var _ policy.Target = target{}

// about makes a target of objects by name; those that are nil are left out.
func about(r *api.Request, pairs ...any) target {
	t := target{r: r, objects: doc{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		switch v := pairs[i+1].(type) {
		case doc:
			if v != nil {
				t.objects[pairs[i].(string)] = v
			}
		case string:
			t.objects[pairs[i].(string)] = v
		}
	}
	return t
}
