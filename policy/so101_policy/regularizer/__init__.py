"""The loss on the attention, its schedules and presets, and modality dropout."""
