"""Settings of `make lab`: notebooks are saved without outputs, so that reading one changes no file in git."""

KERNEL = {'display_name': 'python3', 'language': 'python', 'name': 'python3'}


def clear_outputs(model, **_):
    """Remove from a notebook, before it is saved, what running it adds."""
    if model['type'] != 'notebook' or model['content']['nbformat'] != 4:
        return
    model['content']['metadata'] = {'kernelspec': KERNEL}
    for cell in model['content']['cells']:
        cell['metadata'] = {key: value for key, value in cell['metadata'].items() if key == 'tags' and value}
        if cell['cell_type'] == 'code':
            cell['outputs'], cell['execution_count'] = [], None


if 'get_config' in globals():  # Jupyter defines it when it reads this file
    c = get_config()  # noqa: F821 (see the line before)
    c.FileContentsManager.pre_save_hook = clear_outputs
