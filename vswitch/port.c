#include "vswitch/port.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Fills the set that nobody reads and puts it in the place of the other. */
static void port_table_publish(struct port_table *table)
{
	struct port_set *set = &table->sets[!table->active];

	set->count = 0;
	for (unsigned int i = 0; i < PORT_MAX; i++) {
		struct port *port = port_table_get(table, (uint16_t)i);

		if (port)
			set->ports[set->count++] = port;
	}
	atomic_store_explicit(&table->set, set, memory_order_release);
	table->active = !table->active;
}

void port_table_init(struct port_table *table)
{
	memset(table, 0, sizeof(*table));
	port_table_publish(table);
}

int port_init(struct port *port, struct port_table *table, const struct port_ops *ops,
	      const char *id, uint32_t mtu, unsigned int lcores)
{
	port->ops = ops;
	snprintf(port->id, sizeof(port->id), "%s", id);
	port->mtu = mtu;
	port->max_frame = mtu + FRAME_OVERHEAD;
	port->table = table;
	port->cells_count = lcores;
	port->cells = aligned_alloc(_Alignof(struct stats_cell), lcores * sizeof(*port->cells));
	if (!port->cells)
		return -ENOMEM;
	memset(port->cells, 0, lcores * sizeof(*port->cells));
	return 0;
}

void port_fini(struct port *port)
{
	struct stats stats;

	port_stats(port, &stats);
	stats_merge(&port->table->retired, &stats);
	free(port->cells);
}

int port_table_add(struct port_table *table, struct port *port)
{
	unsigned int index = 0;

	while (index < PORT_MAX && port_table_get(table, (uint16_t)index))
		index++;
	if (index == PORT_MAX)
		return -ENOSPC;
	port->index = (uint16_t)index;
	port->generation = ++table->generations;
	atomic_store_explicit(&table->ports[index], port, memory_order_release);
	port_table_publish(table);
	return 0;
}

void port_table_remove(struct port_table *table, struct port *port)
{
	if (port_table_get(table, port->index) != port)
		return; /* it never got there */
	atomic_store_explicit(&table->ports[port->index], NULL, memory_order_release);
	port_table_publish(table);
}

struct port *port_table_find(struct port_table *table, const char *id)
{
	for (unsigned int i = 0; i < PORT_MAX; i++) {
		struct port *port = port_table_get(table, (uint16_t)i);

		if (port && strcmp(port->id, id) == 0)
			return port;
	}
	return NULL;
}

void port_stats(const struct port *port, struct stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	for (unsigned int i = 0; i < port->cells_count; i++)
		stats_collect(stats, &port->cells[i]);
}
