"""AIGI Explorer: ``streamlit run app.py``. Wiring only; what the app shows is in pages/, how it is
shown in ui/.
"""

import streamlit as st

import ui

if __name__ == "__main__":  # what Streamlit runs for a session
    st.set_page_config(page_title="AIGI Explorer", page_icon=":material/grid_view:", layout="wide")
    page = st.navigation(ui.navigation())
    ui.start()
    ui.frame()
    page.run()
else:  # what ``streamlit run`` imports, once, for its server
    from ui.preparation import prepared

    app = st.App(__file__, lifespan=prepared)
