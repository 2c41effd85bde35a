// Package image is the image service, API v2: records of images, who may see them, and their data as files in a folder. It
// must not know what becomes of an image; nodes fetch the bytes through Open, and the compute service asks with Find.
//
// Data flows through without being kept in memory: an upload goes to a .part file while it is hashed, is synced, gets its final
// name and only then a record that names it. Whatever a crash leaves is either a whole active image or a queued one and
// a file that nobody names, which the next start removes.
package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// Options for New.
type Options struct {
	DB *db.DB
	// DataDir holds the images' data, and belongs to one process at a time.
	DataDir string
	Logger  *slog.Logger
	// SizeLimit is the largest image in bytes; 0: 1 TiB (glance's image_size_cap).
	SizeLimit int64
	// Docs keeps encoded images; nil: a cache of its own of 8 MiB.
	Docs *api.Docs
}

// Service is the image service.
type Service struct {
	o      Options
	db     *db.DB
	log    *slog.Logger
	policy *policy.Enforcer
	docs   *api.Docs
	api    *api.Service
	files  *files
	schema *schemas
}

// New makes the service, returns what a crash has left of uploads to the queue, and removes data that no image names.
func New(o Options) (*Service, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SizeLimit == 0 {
		o.SizeLimit = 1 << 40
	}
	if o.Docs == nil {
		o.Docs = api.NewDocs(8 << 20)
	}
	p, err := policy.New(policy.Glance())
	if err != nil {
		return nil, err
	}
	f, err := openFiles(o.DataDir)
	if err != nil {
		return nil, fmt.Errorf("image data folder %s: %w", o.DataDir, err)
	}
	sch, err := loadSchemas()
	if err != nil {
		return nil, err
	}
	s := &Service{o: o, db: o.DB, log: o.Logger, policy: p, docs: o.Docs, files: f, schema: sch}
	if err := o.DB.Write(context.Background(), seedResourceTypes); err != nil {
		return nil, fmt.Errorf("metadata definitions: %w", err)
	}
	if err := s.recover(context.Background()); err != nil {
		return nil, fmt.Errorf("image data folder %s: %w", o.DataDir, err)
	}
	s.api = s.service()
	return s, nil
}

// API is the HTTP service.
func (s *Service) API() *api.Service { return s.api }

// Image is an image's record. Pointers are nil for the wire's null.
type Image struct {
	ID                          string
	Revision                    int64
	Name                        *string
	Status, Visibility          string
	Owner                       *string
	DiskFormat, ContainerFormat *string
	Size, VirtualSize           *int64 // bytes
	Checksum                    *string
	HashAlgo, HashValue         *string
	MinRAM, MinDisk             int64 // MB, GB
	Protected, Hidden           bool
	CreatedAt, UpdatedAt        int64 // microseconds
	Properties                  map[string]string
	Tags                        []string

	upload, store string
}

// Statuses of an image.
const (
	Queued      = "queued"
	Saving      = "saving"
	Active      = "active"
	Deactivated = "deactivated"
)

// Find returns an image that the caller may see, whatever its status; else it is a 404 in the image service's words.
func (s *Service) Find(tx *db.Tx, caller *api.Caller, id string) (Image, error) {
	img, err := s.visible(tx, caller, id)
	if err != nil {
		return Image{}, err
	}
	if !s.policy.Allowed("get_image", caller.Creds, target(img, caller.ProjectID)) {
		return Image{}, notFound(id)
	}
	return img, nil
}

// Get returns an image for the service itself, whoever may see it.
func Get(tx *db.Tx, id string) (Image, error) {
	img, err := imageByID(tx, id)
	if errors.Is(err, db.ErrNotFound) {
		return img, notFound(id)
	}
	return img, err
}

// Open opens an image's data for a node.
func (s *Service) Open(ctx context.Context, id string) (io.ReadCloser, error) {
	var img Image
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		img, err = Get(tx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	if img.Status != Active && img.Status != Deactivated {
		return nil, fault.Conflict("image %s has no data: it is %s", id, img.Status)
	}
	f, err := s.files.open(img)
	if err != nil {
		return nil, fmt.Errorf("data of image %s: %w", id, err)
	}
	return f, nil
}

func notFound(id string) *fault.Error { return fault.NotFound("No image found with ID %s", id) }

// files is the data folder. Its id stands in the record of every image that it holds.
type files struct {
	dir string
	id  string
}

func openFiles(dir string) (*files, error) {
	if dir == "" {
		return nil, errors.New("no folder is named")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "store-id")
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		b = []byte(uuid.NewString())
		err = writeSynced(dir, name, b)
	}
	if err != nil {
		return nil, err
	}
	return &files{dir: dir, id: strings.TrimSpace(string(b))}, nil
}

// path is where the data of an upload ends up.
func (f *files) path(imageID, upload string) string {
	return filepath.Join(f.dir, imageID+"."+upload)
}

func (f *files) open(img Image) (*os.File, error) {
	if img.store != f.id {
		return nil, fmt.Errorf("it lies in the data folder of another controller (%s, this one is %s)", img.store, f.id)
	}
	return os.Open(f.path(img.ID, img.upload))
}

// remove deletes the data of an upload; what is gone is gone.
func (f *files) remove(imageID, upload string) error {
	err := os.Remove(f.path(imageID, upload))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// writeSynced writes a small file so that a crash leaves all of it or nothing.
func writeSynced(dir, name string, b []byte) error {
	tmp, err := os.CreateTemp(dir, "*.tmp")
	if err != nil {
		return err
	}
	_, err = tmp.Write(b)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return syncDir(dir)
}

// syncDir makes a rename in the folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
