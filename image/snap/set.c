/* A set of texts with a number each: open addressing, keys by their 64 bit FNV-1a hash and compared in full. */
#include <stdlib.h>
#include <string.h>

#include "snap.h"

struct set_slot {
	char *key;
	uint32_t length, hash;
	uint64_t number;
};

static uint64_t hash_of(const uint8_t *key, size_t length)
{
	uint64_t hash = 0xcbf29ce484222325;
	for (size_t i = 0; i < length; i++)
		hash = (hash ^ key[i]) * 0x100000001b3;
	return hash ^ hash >> 29;
}

static struct set_slot *slot_of(struct set_slot *slots, size_t capacity, const void *key, size_t length, uint64_t hash)
{
	for (size_t i = hash & (capacity - 1);; i = (i + 1) & (capacity - 1)) {
		struct set_slot *slot = &slots[i];
		if (slot->key == NULL || (slot->hash == (uint32_t)hash && slot->length == length &&
			memcmp(slot->key, key, length) == 0))
			return slot;
	}
}

uint64_t *set_find(struct set *set, const void *key, size_t length, bool make)
{
	uint64_t hash = hash_of(key, length);
	if (set->capacity > 0) {
		struct set_slot *slot = slot_of(set->slots, set->capacity, key, length, hash);
		if (slot->key != NULL)
			return &slot->number;
	}
	if (!make)
		return NULL;
	if (set->count * 4 >= set->capacity * 3) {
		size_t capacity = set->capacity > 0 ? set->capacity * 2 : 256;
		struct set_slot *slots = allocate(capacity * sizeof *slots);
		for (size_t i = 0; i < set->capacity; i++) {
			struct set_slot *old = &set->slots[i];
			if (old->key != NULL)
				*slot_of(slots, capacity, old->key, old->length,
					hash_of((uint8_t *)old->key, old->length)) = *old;
		}
		free(set->slots);
		set->slots = slots;
		set->capacity = capacity;
	}
	struct set_slot *slot = slot_of(set->slots, set->capacity, key, length, hash);
	slot->key = allocate(length);
	memcpy(slot->key, key, length);
	slot->length = (uint32_t)length;
	slot->hash = (uint32_t)hash;
	set->count++;
	return &slot->number;
}

bool set_has(struct set *set, const char *key)
{
	return set_find(set, key, strlen(key), false) != NULL;
}

void set_add(struct set *set, const char *key)
{
	set_find(set, key, strlen(key), true);
}
