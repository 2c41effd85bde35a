package compute

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// specValues turns the body's values into texts: numbers are printed.
func specValues(r *api.Request, in map[string]any) (map[string]string, error) {
	out := make(map[string]string, len(in))
	for k, v := range in {
		switch x := v.(type) {
		case string:
			out[k] = x
		case json.Number:
			out[k] = x.String()
		default:
			out[k] = pyText(v)
		}
		if len(out[k]) > 255 {
			return nil, fault.BadRequest("extra_specs value has %d characters, more than 255.", len(out[k]))
		}
		if r.Since("2.86") {
			if err := checkSpec(k, out[k]); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func pyText(v any) string {
	switch x := v.(type) {
	case nil:
		return "None"
	case bool:
		if x {
			return "True"
		}
		return "False"
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func (s *Service) flavorSpecs(ctx context.Context, id string) (specs map[string]string, err error) {
	err = s.read(ctx, func(tx *db.Tx) error {
		f, err := flavorByID(tx, id)
		if errors.Is(err, db.ErrNotFound) {
			err = flavorNotFound(id)
		}
		specs = f.ExtraSpecs
		return err
	})
	return specs, err
}

func noSuchSpec(id, key string) error {
	return fault.NotFound("Flavor %s has no extra specs with key %s.", id, key)
}

func (s *Service) indexFlavorSpecs(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	specs, err := s.flavorSpecs(ctx, r.Path("id"))
	return map[string]any{"extra_specs": specs}, err
}

func (s *Service) showFlavorSpec(ctx context.Context, r *api.Request, _ api.None) (map[string]string, error) {
	specs, err := s.flavorSpecs(ctx, r.Path("id"))
	if err != nil {
		return nil, err
	}
	v, ok := specs[r.Path("key")]
	if !ok {
		return nil, noSuchSpec(r.Path("id"), r.Path("key"))
	}
	return map[string]string{r.Path("key"): v}, nil
}

func (s *Service) saveSpecs(ctx context.Context, id string, specs map[string]string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		err := setExtraSpecs(tx, id, specs)
		if errors.Is(err, db.ErrNotFound) {
			err = flavorNotFound(id)
		}
		return err
	})
}

func (s *Service) createFlavorSpecs(ctx context.Context, r *api.Request, in map[string]any) (map[string]any, error) {
	specs, err := specValues(r, in["extra_specs"].(map[string]any))
	if err != nil {
		return nil, err
	}
	return in, s.saveSpecs(ctx, r.Path("id"), specs)
}

func (s *Service) updateFlavorSpec(ctx context.Context, r *api.Request, in map[string]any) (map[string]any, error) {
	specs, err := specValues(r, in)
	if err != nil {
		return nil, err
	}
	if _, ok := in[r.Path("key")]; !ok {
		return nil, fault.BadRequest("Request body and URI mismatch")
	}
	return in, s.saveSpecs(ctx, r.Path("id"), specs)
}

func (s *Service) deleteFlavorSpec(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	id, key := r.Path("id"), r.Path("key")
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		f, err := flavorByID(tx, id)
		if errors.Is(err, db.ErrNotFound) {
			return flavorNotFound(id)
		}
		if err != nil {
			return err
		}
		if _, ok := f.ExtraSpecs[key]; !ok {
			return noSuchSpec(id, key)
		}
		delete(f.ExtraSpecs, key)
		return saveFlavorSpecs(tx, f)
	})
}
